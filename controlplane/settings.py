"""Settings of the control plane, all of them from the environment.

`KVPLANE_DATA_DIR` holds whatever is not given: the database, the secret key.
"""

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

from controlplane.audit.forwarding.receivers import BadReceiver, read_syslog, read_webhook
from controlplane.audit.reads import BadReadPolicy, read_policies
from controlplane.keyfile import read_or_create
from controlplane.resources import OWN_RESOURCES
from controlplane.rest.about import DESCRIPTION
from engine.contract import CATALOGUE
from engine.contract.version import version

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()

DATA_DIR = Path(env.str("KVPLANE_DATA_DIR", default=str(BASE_DIR / "var")))
# Outside of the database, so that who can rewrite that cannot rewrite these.
KVPLANE_AUDIT_KEYS_DIR = env.str("KVPLANE_AUDIT_KEYS_DIR", default=str(DATA_DIR / "audit" / "keys"))
KVPLANE_AUDIT_HEADS_DIR = env.str(
    "KVPLANE_AUDIT_HEADS_DIR", default=str(DATA_DIR / "audit" / "heads")
)
KVPLANE_AUDIT_ARCHIVE_DIR = env.str(
    "KVPLANE_AUDIT_ARCHIVE_DIR", default=str(DATA_DIR / "audit" / "archive")
)
SECRET_KEY = env.str("KVPLANE_SECRET_KEY", default="") or read_or_create(DATA_DIR / "secret_key")
# Old keys, for a change of key without registering every agent anew.
SECRET_KEY_FALLBACKS = env.list("KVPLANE_SECRET_KEY_FALLBACKS", default=[])
DEBUG = env.bool("KVPLANE_DEBUG", default=False)
ALLOWED_HOSTS = env.list("KVPLANE_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("KVPLANE_CSRF_TRUSTED_ORIGINS", default=[])

KVPLANE_HTTP_THREADS = env.int("KVPLANE_HTTP_THREADS", default=8)
KVPLANE_AGENT_TIMEOUT = env.float("KVPLANE_AGENT_TIMEOUT", default=30.0)
KVPLANE_MAX_ANSWER_BYTES = env.int("KVPLANE_MAX_ANSWER_BYTES", default=64 << 20)
if KVPLANE_HTTP_THREADS < 1:
    raise ImproperlyConfigured("KVPLANE_HTTP_THREADS must be at least 1.")
# Half of the threads: one agent that hangs must not take the others along.
KVPLANE_MAX_CALLS_PER_AGENT = env.int(
    "KVPLANE_MAX_CALLS_PER_AGENT", default=max(1, KVPLANE_HTTP_THREADS // 2)
)
if KVPLANE_MAX_CALLS_PER_AGENT < 1:
    raise ImproperlyConfigured("KVPLANE_MAX_CALLS_PER_AGENT must be at least 1.")
if KVPLANE_AGENT_TIMEOUT <= 0:
    raise ImproperlyConfigured("KVPLANE_AGENT_TIMEOUT must be a number of seconds above 0.")

KVPLANE_EMBEDDED_CONTROLLER = env.bool("KVPLANE_EMBEDDED_CONTROLLER", default=True)
KVPLANE_POLL_SECONDS = env.float("KVPLANE_POLL_SECONDS", default=5.0)
KVPLANE_POLL_TIMEOUT = env.float("KVPLANE_POLL_TIMEOUT", default=2.0)
KVPLANE_POLL_CONCURRENCY = env.int("KVPLANE_POLL_CONCURRENCY", default=32)
KVPLANE_OFFLINE_AFTER_MISSED = env.int("KVPLANE_OFFLINE_AFTER_MISSED", default=4)
KVPLANE_CONTROLLER_LEASE_SECONDS = env.float("KVPLANE_CONTROLLER_LEASE_SECONDS", default=20.0)
KVPLANE_DRIFT_POLICY = env.str("KVPLANE_DRIFT_POLICY", default="enforce")
KVPLANE_REPAIR_ATTEMPTS = env.int("KVPLANE_REPAIR_ATTEMPTS", default=5)
KVPLANE_LOGIN_FAILURES = env.int("KVPLANE_LOGIN_FAILURES", default=10)
KVPLANE_LOGIN_LOCK_SECONDS = env.float("KVPLANE_LOGIN_LOCK_SECONDS", default=900.0)
KVPLANE_AUDIT_HEAD_SECONDS = env.float("KVPLANE_AUDIT_HEAD_SECONDS", default=60.0)
KVPLANE_EVENTS_PATROL_SECONDS = env.float("KVPLANE_EVENTS_PATROL_SECONDS", default=5.0)
KVPLANE_EVENTS_RECHECK_SECONDS = env.float("KVPLANE_EVENTS_RECHECK_SECONDS", default=60.0)
KVPLANE_STATISTICS_SECONDS = env.float("KVPLANE_STATISTICS_SECONDS", default=60.0)
KVPLANE_STATISTICS_RAW_DAYS = env.int("KVPLANE_STATISTICS_RAW_DAYS", default=7)
KVPLANE_STATISTICS_BUCKET_SECONDS = env.int("KVPLANE_STATISTICS_BUCKET_SECONDS", default=3600)
KVPLANE_STATISTICS_KEEP_DAYS = env.int("KVPLANE_STATISTICS_KEEP_DAYS", default=365)
try:
    KVPLANE_AUDIT_READS = read_policies(
        env.dict("KVPLANE_AUDIT_READS", default={}),
        frozenset(str(endpoint.group) for endpoint in CATALOGUE) | OWN_RESOURCES,
    )
except BadReadPolicy as _error:
    raise ImproperlyConfigured(f"KVPLANE_AUDIT_READS: {_error}.") from None
try:
    KVPLANE_TRUSTED_PROXIES = [
        ip_network(network) for network in env.list("KVPLANE_TRUSTED_PROXIES", default=[])
    ]
except ValueError as _error:
    raise ImproperlyConfigured(f"KVPLANE_TRUSTED_PROXIES: {_error}.") from None
try:
    KVPLANE_AUDIT_WEBHOOK = read_webhook(
        env.str("KVPLANE_AUDIT_WEBHOOK_URL", default=""),
        env.str("KVPLANE_AUDIT_WEBHOOK_SECRET", default=""),
        env.float("KVPLANE_AUDIT_WEBHOOK_TIMEOUT", default=10.0),
    )
    KVPLANE_AUDIT_SYSLOG = read_syslog(env.str("KVPLANE_AUDIT_SYSLOG", default=""))
except BadReceiver as _error:
    raise ImproperlyConfigured(f"{_error}.") from None
KVPLANE_AUDIT_FORWARD_SECONDS = env.float("KVPLANE_AUDIT_FORWARD_SECONDS", default=1.0)
for _name in (
    "KVPLANE_POLL_SECONDS",
    "KVPLANE_POLL_TIMEOUT",
    "KVPLANE_POLL_CONCURRENCY",
    "KVPLANE_OFFLINE_AFTER_MISSED",
    "KVPLANE_REPAIR_ATTEMPTS",
    "KVPLANE_LOGIN_FAILURES",
    "KVPLANE_LOGIN_LOCK_SECONDS",
    "KVPLANE_AUDIT_HEAD_SECONDS",
    "KVPLANE_AUDIT_FORWARD_SECONDS",
    "KVPLANE_EVENTS_PATROL_SECONDS",
    "KVPLANE_EVENTS_RECHECK_SECONDS",
    "KVPLANE_STATISTICS_SECONDS",
    "KVPLANE_STATISTICS_RAW_DAYS",
    "KVPLANE_STATISTICS_BUCKET_SECONDS",
    "KVPLANE_STATISTICS_KEEP_DAYS",
):
    if not globals()[_name] > 0:
        raise ImproperlyConfigured(f"{_name} must be above 0.")
if KVPLANE_CONTROLLER_LEASE_SECONDS < 2 * KVPLANE_POLL_SECONDS:
    raise ImproperlyConfigured(
        "KVPLANE_CONTROLLER_LEASE_SECONDS must be at least twice KVPLANE_POLL_SECONDS: it is "
        "renewed once a poll."
    )
if KVPLANE_DRIFT_POLICY not in ("enforce", "report", "adopt"):
    raise ImproperlyConfigured("KVPLANE_DRIFT_POLICY must be enforce, report or adopt.")

INSTALLED_APPS = [
    "controlplane.apps.ControlPlaneAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "channels",
    "django_htmx",
    "axes",
    # controlplane.forwarding has neither models nor commands, so Django need not know it.
    "controlplane.audit",
    "controlplane.accounts",
    "controlplane.fleet",
    "controlplane.configuration",
    "controlplane.modes",
    "controlplane.statistics",
    "controlplane.operations",
    "controlplane.reconcile",
    "controlplane.inference",
    "controlplane.live",
    "controlplane.dashboard",
    "controlplane.launcher",
    "controlplane.adminsite",
]

# Forwarded reads pass through all of these: each has to earn its place.
MIDDLEWARE = [
    "controlplane.middleware.RequestIdMiddleware",
    "controlplane.content_policy.ContentPolicyMiddleware",
    "controlplane.recording.RecordingMiddleware",
    "controlplane.middleware.NoNulMiddleware",
    "controlplane.middleware.NoDatabaseMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "controlplane.accounts.middleware.BrowserSessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "controlplane.accounts.middleware.BrowserLoginMiddleware",
    "controlplane.accounts.middleware.BrowserMessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
APPEND_SLASH = False
ROOT_URLCONF = "controlplane.urls"
WSGI_APPLICATION = "controlplane.wsgi.application"
ASGI_APPLICATION = "controlplane.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": (
        env.db_url("DATABASE_URL")
        if env.str("DATABASE_URL", default="")
        else {"ENGINE": "django.db.backends.sqlite3", "NAME": str(DATA_DIR / "kvplane.sqlite3")}
    ),
}
DATABASES["default"]["CONN_MAX_AGE"] = None
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        # A deferred transaction that turns into a writer fails at once when
        # another one writes; an immediate one waits for its turn.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        # FULL: "no record, no change" needs a record that survives a power cut.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.str("REDIS_URL", default="")
CHANNEL_LAYERS = {
    "default": (
        {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [REDIS_URL]}}
        if REDIS_URL
        else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    ),
}

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
# By both, so that nobody is locked out by what others try from elsewhere. The audit log has
# every attempt already.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = KVPLANE_LOGIN_FAILURES
AXES_COOLOFF_TIME = timedelta(seconds=KVPLANE_LOGIN_LOCK_SECONDS)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_CLIENT_IP_CALLABLE = "controlplane.accounts.lockout.address_of"
AXES_LOCKOUT_CALLABLE = "controlplane.errors.too_many_attempts"
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "rest_framework:login"
LOGIN_REDIRECT_URL = "/dashboard/"

KVPLANE_HTTPS = env.bool("KVPLANE_HTTPS", default=False)
SESSION_COOKIE_NAME = "kvplane_session"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = KVPLANE_HTTPS
CSRF_COOKIE_NAME = "kvplane_csrf"
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SECURE = KVPLANE_HTTPS
CSRF_FAILURE_VIEW = "controlplane.errors.csrf_failure"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 << 20
# The fleet page sends a field for each agent that is selected: as many as one operation may
# have, and what else a form has.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_100

LANGUAGE_CODE = "en-us"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = ["controlplane.formats"]

STATIC_URL = "/static/"
# Straight from the installed packages: there is no collectstatic step to forget.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "controlplane.accounts.authentication.BearerAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["controlplane.accounts.permissions.RolePermission"],
    "DEFAULT_RENDERER_CLASSES": [
        "rest_framework.renderers.JSONRenderer",
        "controlplane.rest.browsing.PageRenderer",
    ],
    "VIEW_NAME_FUNCTION": "controlplane.rest.naming.view_name",
    "DEFAULT_PARSER_CLASSES": ["controlplane.rest.parsers.StrictJSONParser"],
    "DEFAULT_FILTER_BACKENDS": [
        "django_filters.rest_framework.DjangoFilterBackend",
        "controlplane.rest.filters.StrictOrderingFilter",
    ],
    "DEFAULT_PAGINATION_CLASS": "controlplane.rest.pagination.StrictCursorPagination",
    "PAGE_SIZE": 50,
    "DEFAULT_SCHEMA_CLASS": "controlplane.rest.resource_schema.ResourceSchema",
    "EXCEPTION_HANDLER": "controlplane.errors.exception_handler",
    # `?format=` is a parameter of a documented endpoint.
    "URL_FORMAT_OVERRIDE": None,
    # Any caller can write an X-Forwarded-For header: throttles go by the connection.
    "NUM_PROXIES": 0,
    "DEFAULT_THROTTLE_RATES": {"enrol": "60/min"},
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "KVPlane",
    "DESCRIPTION": DESCRIPTION,
    "VERSION": version(),
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    # The schema describes the program, not this installation of it.
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "APPEND_COMPONENTS": {
        "securitySchemes": {
            "enrolmentToken": {
                "type": "http",
                "scheme": "bearer",
                "description": "An enrolment token, made at /api/v1/enrolment-tokens/.",
            },
        },
    },
    "ENUM_NAME_OVERRIDES": {
        "UserRole": "controlplane.accounts.models.UserRole",
        "AgentRole": "controlplane.fleet.models.ROLE_CHOICES",
        "Stage": "controlplane.audit.models.Stage",
        "OperationState": "controlplane.operations.models.State",
        "RevisionState": "controlplane.configuration.models.RevisionState",
        "RevisionSource": "controlplane.configuration.models.Source",
        "ModeChangeState": "controlplane.modes.models.ModeChangeState",
        "ModeChangeSource": "controlplane.modes.models.ModeSource",
        "Mode": "controlplane.modes.models.Mode",
        "Dialect": "controlplane.fleet.models.Dialect",
        "AgentHealth": "controlplane.fleet.models.Health",
        "ActorKind": "controlplane.audit.actors.ActorKind",
        "Policy": "controlplane.reconcile.models.Policy",
        "Trigger": "controlplane.statistics.models.Trigger",
        "Action": "controlplane.operations.serializers.ACTION_CHOICES",
        "OnFailure": "controlplane.operations.serializers.ON_FAILURE_CHOICES",
        "ProblemKind": "controlplane.audit.serializers.KIND_CHOICES",
    },
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "SORT_OPERATIONS": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "controlplane.rest.schemas.complete",
        "controlplane.rest.schemas.describe_parameters",
        "controlplane.rest.schemas.let_anything_be_null",
        "controlplane.rest.schemas.order_methods",
    ],
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {
        "handlers": ["stderr"],
        "level": env.str("KVPLANE_LOG_LEVEL", default="INFO").upper(),
    },
}
