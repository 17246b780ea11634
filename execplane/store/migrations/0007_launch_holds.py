from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('execplane', '0006_flight_records'),
    ]

    operations = [
        migrations.CreateModel(
            name='LaunchHold',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('scope', models.CharField(max_length=20)),
                ('name', models.CharField(blank=True, default='', max_length=250)),
                ('reason', models.TextField()),
                ('author', models.CharField(max_length=200)),
                ('created_at', models.DateTimeField()),
                ('expires_at', models.DateTimeField(null=True)),
                ('ended_at', models.DateTimeField(null=True)),
                ('ended_by', models.CharField(blank=True, default='', max_length=200)),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('ended_at__isnull', True)), fields=['id'], name='launch_hold_open')],
            },
        ),
        migrations.CreateModel(
            name='LaunchWave',
            fields=[
                ('executor', models.CharField(max_length=60, primary_key=True, serialize=False)),
                ('cause', models.CharField(max_length=300)),
                ('began_at', models.DateTimeField()),
                ('total', models.PositiveIntegerField()),
                ('size', models.PositiveIntegerField()),
                ('number', models.PositiveIntegerField()),
                ('before', models.PositiveIntegerField()),
                ('launched', models.PositiveIntegerField()),
                ('well', models.PositiveIntegerField()),
                ('failed', models.PositiveIntegerField()),
            ],
        ),
    ]
