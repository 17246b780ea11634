"""Every parameter that DAGs and operators accept, in one table, and those of Airflow's that they refuse.

The constructors work from these rows, `docs/sdk-parameters.md` is generated from them, and a test goes through them:
each accepted one must have an effect.
"""

from __future__ import annotations

from datetime import timedelta

from execplane.sdk import checks
from execplane.sdk.accepting import Parameter, Refused

_P = Parameter
_R = Refused

OPERATOR: tuple[Parameter, ...] = (
    _P(
        name="task_id",
        takes="id",
        check=checks.identifier,
        effect="Names the task; a group's id is put before it.",
    ),
    _P(
        name="task_display_name",
        takes="string",
        check=checks.optional(checks.text),
        effect="The label on pages.",
    ),
    _P(
        name="owner",
        takes="string",
        check=checks.text,
        default="airflow",
        effect="Shown; AIRFLOW_CTX_DAG_OWNER.",
    ),
    _P(
        name="email",
        takes="address or list",
        effect="AIRFLOW_CTX_DAG_EMAIL; taken only with email_on_failure and email_on_retry both False.",
    ),
    _P(
        name="retries",
        takes="int >= 0",
        check=checks.optional(checks.whole(0)),
        default=0,
        effect="Tries after the first.",
    ),
    _P(
        name="retry_delay",
        takes="timedelta or seconds",
        check=checks.delay,
        default=timedelta(seconds=300),
        effect="Time between two tries.",
    ),
    _P(
        name="retry_exponential_backoff",
        takes="bool or base",
        check=checks.backoff,
        default=False,
        effect="Each delay is the base (True: 2) times the one before.",
    ),
    _P(
        name="max_retry_delay",
        takes="timedelta or seconds",
        check=checks.optional(checks.delay),
        effect="The cap of the growing delay.",
    ),
    _P(
        name="start_date",
        takes="datetime",
        check=checks.optional(checks.moment),
        effect="No instance in earlier runs.",
    ),
    _P(
        name="end_date",
        takes="datetime",
        check=checks.optional(checks.moment),
        effect="No instance in later runs.",
    ),
    _P(
        name="depends_on_past",
        takes="bool",
        check=checks.boolean,
        default=False,
        effect="Runs only when its instance in the run before ended well.",
    ),
    _P(
        name="ignore_first_depends_on_past",
        takes="bool",
        check=checks.boolean,
        default=True,
        effect="The first run has nothing before it to wait for.",
    ),
    _P(
        name="wait_for_downstream",
        takes="bool",
        check=checks.boolean,
        default=False,
        effect="Waits for the direct downstream of its instance before, too; switches depends_on_past on.",
    ),
    _P(name="dag", takes="DAG", effect="The DAG it belongs to, outside of a `with DAG` block."),
    _P(
        name="task_group",
        takes="TaskGroup",
        effect="The group it belongs to, outside of a `with TaskGroup` block.",
    ),
    _P(
        name="default_args",
        takes="dict",
        check=checks.mapping,
        effect="Fills parameters that are not given, for this task.",
    ),
    _P(
        name="params",
        takes="dict",
        effect="Parameters of this task; they win over the DAG's and lose to the run's conf.",
    ),
    _P(
        name="priority_weight",
        takes="int",
        check=checks.weight,
        default=1,
        effect="Order among queued tasks: larger first.",
    ),
    _P(
        name="weight_rule",
        takes="downstream | upstream | absolute",
        check=checks.one_of("downstream", "upstream", "absolute"),
        default="downstream",
        effect="Whose weights are added to the own.",
    ),
    _P(name="queue", takes="string", check=checks.name, default="default", effect="Where its attempts queue."),
    _P(
        name="pool",
        takes="string",
        check=checks.name,
        default="default_pool",
        effect="The pool whose slots it takes.",
    ),
    _P(
        name="pool_slots",
        takes="int >= 1",
        check=checks.whole(1),
        default=1,
        effect="How many slots it takes.",
    ),
    _P(
        name="execution_timeout",
        takes="timedelta",
        check=checks.optional(checks.duration),
        effect="AirflowTaskTimeout is raised in a try that runs longer.",
    ),
    _P(
        name="on_execute_callback",
        takes="callable or list",
        check=checks.callbacks,
        effect="Called before each try.",
    ),
    _P(
        name="on_success_callback",
        takes="callable or list",
        check=checks.callbacks,
        effect="Called after success.",
    ),
    _P(
        name="on_failure_callback",
        takes="callable or list",
        check=checks.callbacks,
        effect="Called after a failure that is not tried again.",
    ),
    _P(
        name="on_retry_callback",
        takes="callable or list",
        check=checks.callbacks,
        effect="Called after each failed try that is followed by another.",
    ),
    _P(
        name="on_skipped_callback",
        takes="callable or list",
        check=checks.callbacks,
        effect="Called when the task skips itself.",
    ),
    _P(
        name="pre_execute",
        takes="callable",
        check=checks.optional(checks.call),
        attribute="_pre_execute_hook",
        effect="Called with the context right before execute.",
    ),
    _P(
        name="post_execute",
        takes="callable",
        check=checks.optional(checks.call),
        attribute="_post_execute_hook",
        effect="Called with the context and the result right after execute.",
    ),
    _P(
        name="trigger_rule",
        takes="TriggerRule or its name",
        check=checks.trigger_rule,
        default="all_success",
        effect="Which ends of its upstream tasks let it run.",
    ),
    _P(name="resources", takes="dict", effect="cpus, ram, disk (MB), gpus: the pod's requests and limits."),
    _P(
        name="executor",
        takes="string",
        check=checks.optional(checks.name),
        effect="The executor that launches it.",
    ),
    _P(
        name="executor_config",
        takes="dict",
        effect="pod_override or podOverride (dict or V1Pod), pod_template_file, hold_on_failure (execplane only: how "
        "long a failed container is kept alive), KubernetesExecutor (legacy dict).",
    ),
    _P(
        name="do_xcom_push",
        takes="bool",
        check=checks.boolean,
        default=True,
        effect="Whether the result is kept as the XCom return_value.",
    ),
    _P(
        name="multiple_outputs",
        takes="bool",
        check=checks.boolean,
        default=False,
        effect="A dict result is pushed key by key, too.",
    ),
    _P(
        name="max_active_tis_per_dag",
        takes="int >= 1",
        check=checks.optional(checks.whole(1)),
        aliases=("task_concurrency",),
        effect="Instances of this task at once, over all runs.",
    ),
    _P(
        name="max_active_tis_per_dagrun",
        takes="int >= 1",
        check=checks.optional(checks.whole(1)),
        effect="Instances of this (mapped) task at once in one run.",
    ),
    _P(
        name="map_index_template",
        takes="template",
        check=checks.optional(checks.text),
        effect="Names the mapped instances on pages.",
    ),
    _P(
        name="logger_name",
        takes="string",
        check=checks.optional(checks.text),
        effect="The name that self.log writes under.",
    ),
    _P(
        name="doc_md",
        takes="Markdown",
        check=checks.optional(checks.text),
        aliases=("doc",),
        effect="Shown on the task's page.",
    ),
)

OPERATOR_REFUSED: tuple[Refused, ...] = (
    _R(name="email_on_failure", advice="Use on_failure_callback to send what you want where you want it."),
    _R(name="email_on_retry", advice="Use on_retry_callback to send what you want where you want it."),
    _R(
        name="sla",
        advice="Remove it, and alert on the run's duration instead (dagrun_timeout ends a run that is late).",
    ),
    _R(name="run_as_user", advice="Set securityContext.runAsUser in executor_config['pod_override']."),
    _R(name="inlets", advice="Remove it; assets are not supported.", harmless=(None, [], (), {})),
    _R(
        name="outlets",
        advice="Remove it; trigger the other DAG by its own schedule.",
        harmless=(None, [], (), {}),
    ),
    _R(name="wait_for_past_depends_before_skipping", advice="Remove it; a skip is not delayed."),
    _R(name="on_kill_callback", advice="Override on_kill in the operator's class."),
    _R(name="deferrable", advice="Use a sensor with mode='reschedule': it holds no slot between looks."),
    _R(
        name="allow_nested_operators",
        advice="Remove it; build operators outside of the task.",
        harmless=(None, True),
    ),
    _R(name="doc_json", advice="Use doc_md."),
    _R(name="doc_yaml", advice="Use doc_md."),
    _R(name="doc_rst", advice="Use doc_md."),
    _R(name="adhoc", advice="Remove it; Airflow itself has dropped it."),
    _R(name="start_from_trigger", advice="Use a sensor with mode='reschedule'."),
    _R(name="start_trigger_args", advice="Use a sensor with mode='reschedule'."),
    _R(name="retry_policy", advice="Use retries, retry_delay and retry_exponential_backoff."),
    _R(name="has_retry_policy", advice="Use retries, retry_delay and retry_exponential_backoff."),
)

DAG: tuple[Parameter, ...] = (
    _P(name="dag_id", takes="id", check=checks.identifier, effect="Names the DAG."),
    _P(name="description", takes="string", check=checks.optional(checks.text), effect="Shown on pages."),
    _P(
        name="schedule",
        takes="cron | preset | timedelta | None | '@once' | timetable",
        aliases=("schedule_interval", "timetable"),
        effect="When it runs; None (and no schedule at all): only by hand.",
    ),
    _P(
        name="start_date",
        takes="datetime",
        check=checks.optional(checks.moment),
        effect="The first run's logical date.",
    ),
    _P(
        name="end_date",
        takes="datetime",
        check=checks.optional(checks.moment),
        effect="No run is scheduled after it; unset: after the latest of its tasks' end dates, if every task has one.",
    ),
    _P(
        name="timetable_semantics",
        takes="interval | instant",
        check=checks.optional(checks.one_of("interval", "instant")),
        effect="Airflow 2's or 3's meaning of the logical date; the deployment's default otherwise.",
    ),
    _P(
        name="catchup",
        takes="bool",
        check=checks.optional(checks.boolean),
        effect="Whether missed intervals are run; the deployment's default otherwise.",
    ),
    _P(
        name="max_active_runs",
        takes="int >= 1",
        check=checks.whole(1),
        default=16,
        effect="Runs at once.",
    ),
    _P(
        name="max_active_tasks",
        takes="int >= 1",
        check=checks.whole(1),
        default=16,
        aliases=("concurrency",),
        effect="Task instances at once in one run, as in Airflow 3 (in 1 and 2: in all runs together, so `concurrency` "
        "warns at import where several runs may be active).",
    ),
    _P(
        name="dagrun_timeout",
        takes="timedelta",
        check=checks.optional(checks.duration),
        effect="A run that takes longer fails.",
    ),
    _P(
        name="default_args",
        takes="dict",
        check=checks.mapping,
        effect="Fills operators' parameters that are not given; other keys are left alone, as in Airflow.",
    ),
    _P(name="params", takes="dict", effect="Typed parameters of a run, and the trigger form."),
    _P(name="tags", takes="list of strings", check=checks.names, effect="Shown, and searched by."),
    _P(name="owner_links", takes="dict", check=checks.links, effect="An owner's name becomes a link."),
    _P(
        name="doc_md",
        takes="Markdown, or a path of a .md file",
        check=checks.optional(checks.text),
        effect="Shown on the DAG's page.",
    ),
    _P(
        name="dag_display_name",
        takes="string",
        check=checks.optional(checks.text),
        effect="The name on pages.",
    ),
    _P(
        name="is_paused_upon_creation",
        takes="bool",
        check=checks.optional(checks.boolean),
        effect="Whether it is paused when it is seen for the first time.",
    ),
    _P(
        name="fail_fast",
        takes="bool",
        check=checks.boolean,
        default=False,
        aliases=("fail_stop",),
        effect="One failed task stops the run's others.",
    ),
    _P(
        name="render_template_as_native_obj",
        takes="bool",
        check=checks.boolean,
        default=False,
        effect="Templates give Python values, not text.",
    ),
    _P(
        name="template_searchpath",
        takes="folder or list",
        check=checks.paths,
        effect="More folders in which template files are looked for.",
    ),
    _P(name="user_defined_macros", takes="dict", check=checks.mapping, effect="More names in templates."),
    _P(name="user_defined_filters", takes="dict", check=checks.mapping, effect="More filters in templates."),
    _P(
        name="jinja_environment_kwargs",
        takes="dict",
        check=checks.mapping,
        effect="Given to Jinja's Environment.",
    ),
    _P(
        name="executor_config",
        takes="dict",
        effect="execplane only: the pod override that every task of the DAG starts from, and its hold_on_failure.",
    ),
    _P(
        name="auto_register",
        takes="bool",
        check=checks.boolean,
        default=True,
        effect="False: found only when a module-level name holds it.",
    ),
)

_DAG_CALLBACK = (
    "Give it to the tasks (default_args), or add a last task whose trigger_rule is 'one_failed' or 'all_success'."
)
DAG_REFUSED: tuple[Refused, ...] = (
    _R(name="on_success_callback", advice=_DAG_CALLBACK, harmless=(None, [])),
    _R(name="on_failure_callback", advice=_DAG_CALLBACK, harmless=(None, [])),
    _R(name="sla_miss_callback", advice="Remove it, and alert on the run's duration instead."),
    _R(
        name="access_control",
        advice="Remove it; permissions are set by the platform's operators.",
        harmless=(None, {}),
    ),
    _R(name="default_view", advice="Remove it; the pages remember the reader's choice."),
    _R(name="orientation", advice="Remove it; the pages remember the reader's choice."),
    _R(
        name="max_consecutive_failed_dag_runs",
        advice="Remove it; pause the DAG from an alert.",
        harmless=(None, 0),
    ),
    _R(name="template_undefined", advice="Remove it; an undefined name in a template is always an error."),
    _R(name="full_filepath", advice="Remove it; the file is known."),
    _R(name="deadline", advice="Use dagrun_timeout."),
    _R(name="allowed_run_types", advice="Remove it; use schedule=None for a DAG that runs only by hand."),
    _R(name="rerun_with_latest_version", advice="Remove it; clearing a run asks which version to use."),
    _R(name="disable_bundle_versioning", advice="Remove it; a run keeps the version it started with."),
)
