from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('execplane', '0003_variable_stamp'),
    ]

    operations = [
        migrations.CreateModel(
            name='DriftFinding',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('executor', models.CharField(max_length=60)),
                ('kind', models.CharField(max_length=40)),
                ('mend', models.CharField(max_length=20)),
                ('cluster', models.CharField(blank=True, default='', max_length=60)),
                ('namespace', models.CharField(max_length=63)),
                ('pod_name', models.CharField(max_length=253)),
                ('pod_uid', models.CharField(blank=True, default='', max_length=100)),
                ('attempt_id', models.BigIntegerField(null=True)),
                ('task', models.TextField(blank=True, default='')),
                ('sentence', models.TextField()),
                ('first_seen', models.DateTimeField()),
                ('last_seen', models.DateTimeField()),
                ('resolved_at', models.DateTimeField(null=True)),
                ('holds_since', models.DateTimeField(null=True)),
                ('tries', models.PositiveIntegerField(default=0)),
                ('tried_at', models.DateTimeField(null=True)),
                ('action', models.TextField(blank=True, default='')),
                ('action_by', models.CharField(blank=True, default='', max_length=200)),
                ('decision', models.CharField(blank=True, default='', max_length=20)),
                ('decided_by', models.CharField(blank=True, default='', max_length=200)),
                ('decided_at', models.DateTimeField(null=True)),
                ('decision_reason', models.TextField(blank=True, default='')),
            ],
            options={
                'indexes': [
                    models.Index(condition=models.Q(('resolved_at__isnull', True)), fields=['-id'], name='drift_open'),
                    models.Index(condition=models.Q(('decided_at__isnull', True), ('holds_since__isnull', False)), fields=['executor', 'id'], name='drift_holds'),
                ],
                'constraints': [models.UniqueConstraint(condition=models.Q(('resolved_at__isnull', True)), fields=('executor', 'kind', 'namespace', 'pod_name', 'pod_uid'), name='drift_open_once')],
            },
        ),
        migrations.CreateModel(
            name='DriftLook',
            fields=[
                ('executor', models.CharField(max_length=60, primary_key=True, serialize=False)),
                ('at', models.DateTimeField(null=True)),
                ('pods', models.PositiveIntegerField(default=0)),
                ('attempts', models.PositiveIntegerField(default=0)),
                ('unseen', models.TextField(blank=True, default='')),
                ('left_off', models.PositiveIntegerField(default=0)),
                ('wanted_at', models.DateTimeField(null=True)),
            ],
        ),
    ]
