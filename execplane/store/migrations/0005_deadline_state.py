from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('execplane', '0004_drift'),
    ]

    operations = [
        migrations.CreateModel(
            name='DeadlineState',
            fields=[
                ('executor', models.CharField(max_length=60, primary_key=True, serialize=False)),
                ('sentence', models.TextField()),
                ('since', models.DateTimeField()),
                ('breaker_open', models.BooleanField(default=False)),
                ('overdue', models.PositiveIntegerField(default=0)),
                ('confirmed', models.PositiveIntegerField(null=True)),
                ('confirmed_by', models.CharField(blank=True, default='', max_length=200)),
            ],
        ),
    ]
