"""Settings. Everything that differs between installations comes from the environment (docs/deploy.md)."""

import os
import sys

from django.urls import reverse_lazy

from .embedded import ROLE, Cluster
from .env import BASE_DIR, PRODUCTION, VAR, env, running_demo, secret

SECRET_KEY = secret("SECRET_KEY")
SEAL_KEYS = [key for key in secret("SEAL_KEYS").split(",") if key]  # newest first
LINK_KEY = secret("LINK_KEY")  # signs redemption addresses

DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[] if PRODUCTION else ["*"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# Where tills reach us; redemption addresses are absolute. Empty: the address the caller used.
PUBLIC_URL = env.str("PUBLIC_URL", default="").rstrip("/")

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "aiqsync.apps.MerchantAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "rest_framework",
    "drf_spectacular",
    "django_q",
    "axes",
    "aiqsync.accounts",
    "integrations",
    "stores",
    "loyalty",
    "aiqsync",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.gzip.GZipMiddleware",  # before the static files, which are compressed beforehand in production
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "aiqsync.security.ContentPolicyMiddleware",
    "aiqsync.accounts.middleware.CurrentAccountMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "aiqsync.urls"
WSGI_APPLICATION = "aiqsync.wsgi.application"
APPEND_SLASH = True

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
            ]
        },
    }
]

# PostgreSQL only. Without DATABASE_URL the embedded server runs (aiqsync/embedded.py); tests have their own.
TESTING = "pytest" in sys.modules
if env.str("DATABASE_URL", default=""):
    EMBEDDED = None
    DATABASES = {"default": env.db("DATABASE_URL")}
else:
    EMBEDDED = Cluster(VAR / ("postgres-test" if TESTING else "postgres"), test=TESTING)
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": ROLE,
            "USER": ROLE,
            "HOST": str(EMBEDDED.socket_dir),
        }
    }
DATABASES["default"] |= {
    "CONN_MAX_AGE": 600,
    "CONN_HEALTH_CHECKS": True,
    "DISABLE_SERVER_SIDE_CURSORS": env.bool("PGBOUNCER", default=False),
    "TEST": {"NAME": os.environ.get("AIQSYNC_TEST_DB", "test_aiqsync")},
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25  # hours
AXES_CLIENT_IP_CALLABLE = "aiqsync.accounts.client_ip.client_ip"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_VERBOSE = False
AXES_ENABLED = not TESTING
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles" if PRODUCTION else VAR / "static"
STATIC_ROOT.mkdir(parents=True, exist_ok=True)
STATICFILES_DIRS = [BASE_DIR / "templates" / "static"]
WHITENOISE_MAX_AGE = 3600
WHITENOISE_USE_FINDERS = not PRODUCTION
if PRODUCTION:
    STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    }

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
# Proxies of ours between the callers and us: so many places from its end stands the caller in X-Forwarded-For.
BEHIND_PROXY = env.bool("BEHIND_PROXY", default=PRODUCTION)
PROXY_HOPS = env.int("PROXY_HOPS", default=1 if BEHIND_PROXY else 0)
if PRODUCTION:
    SECURE_SSL_REDIRECT = env.bool("SSL_REDIRECT", default=True)
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 2**20

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["loyalty.api.authentication.KeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["loyalty.api.authentication.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["loyalty.api.envelope.EnvelopeRenderer"],
    "DEFAULT_PARSER_CLASSES": ["loyalty.api.envelope.TolerantJSONParser"],
    "EXCEPTION_HANDLER": "loyalty.api.envelope.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "loyalty.api.schema.TillSchema",
    "UNAUTHENTICATED_USER": None,
}
# Calls a minute for each key, approximate by design; 0 switches the throttle off. Each of WEB_WORKERS processes counts
# by itself and gives its share.
API_RATE_PER_MINUTE = env.int("API_RATE_PER_MINUTE", default=6000)
WEB_WORKERS = max(1, env.int("WEB_WORKERS", default=2))
SPECTACULAR_SETTINGS = {
    "TITLE": "aiqsync",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "DESCRIPTION": "What tills, web shops and integrators call. Every call carries `X-APIKEY`.",
    "ENUM_NAME_OVERRIDES": {
        "CheckInState": ["waiting", "serving", "served", "skipped", "no-show"],
        "ConsentState": ["unknown", "requested", "in", "out", "stopped"],
    },
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "loyalty.api.schema.complete"],
}

# Who carries messages, by channel: the name of a back end of `loyalty/messages.py`. `local` sends nothing anywhere.
MESSAGE_BACKENDS = {name: env.str(f"{name.upper()}_BACKEND", default="local") for name in ("sms", "email")}

# The mail server that alerts go out by. Without EMAIL_HOST they show in the admin only.
EMAIL_HOST = env.str("EMAIL_HOST", default="")
EMAIL_PORT = env.int("EMAIL_PORT", default=587)
EMAIL_HOST_USER = env.str("EMAIL_HOST_USER", default="")
EMAIL_HOST_PASSWORD = env.str("EMAIL_HOST_PASSWORD", default="")
EMAIL_USE_SSL = env.bool("EMAIL_USE_SSL", default=EMAIL_PORT == 465)
EMAIL_USE_TLS = env.bool("EMAIL_USE_TLS", default=EMAIL_PORT == 587)
EMAIL_TIMEOUT = 10
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if EMAIL_HOST else 'dummy'}.EmailBackend"
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.str("EMAIL_FROM", default="aiqsync <alerts@localhost>")

# Sync jobs. Times by docs/decisions: a slice of a sync is at most 20 s, a lease 30 s, the watchdog waits 130 s.
SYNC_SLICE_S = env.int("SYNC_SLICE_S", default=20)
SYNC_LEASE_S = env.int("SYNC_LEASE_S", default=30)
# Seconds before a POS that fails is asked again: after the first failure, the second, and so on.
SYNC_BACK_OFF_S = env.list("SYNC_BACK_OFF_S", cast=int, default=[30, 60, 120, 300, 600, 1800])
# A create whose answer was lost is looked for when the vendor has certainly ended it, and only then asked for again.
WRITE_GRACE_S = env.int("WRITE_GRACE_S", default=120)
WATCHDOG_LIMIT_S = env.int("WATCHDOG_LIMIT_S", default=130)
HISTORY_DAYS = env.int("HISTORY_DAYS", default=365)
WORKERS = env.int("Q_WORKERS", default=2)
Q_CLUSTER = {
    "name": "aiqsync",
    "orm": "default",
    "workers": WORKERS,
    "timeout": 60,
    "retry": 180,  # more than 60 x (1 + 2/2), so that nothing waiting in memory is handed out twice
    "queue_limit": 1,
    "bulk": 1,
    "ack_failures": True,  # back-off belongs to our run rows
    "max_attempts": 1,
    "catch_up": False,
    "save_limit": -1,  # our run rows are the history
    "recycle": 200,
    "max_rss": 400_000,
    "poll": 0.5,
    "log_level": "WARNING",
    "label": "Task queue",
    "guard_cycle": 0.5,
}

CARDS = ("cova", "clover")  # those that an environment variable may point elsewhere
# A card's base URL may be replaced by the installation, never by a merchant: COVA_BASE_URL points to a sandbox.
DEMO = running_demo()  # beside a running demo, commands speak to its stand-ins
CARD_BASE_URLS = DEMO.get("sandboxes", {}) | {
    slug: url.rstrip("/") for slug in CARDS if (url := env.str(f"{slug.upper()}_BASE_URL", default=""))
}
# Lets cards whose address a merchant types (Partner REST) speak to this machine: for stand-ins and tests.
ALLOW_LOOPBACK_ADDRESSES = env.bool("ALLOW_LOOPBACK_ADDRESSES", default=TESTING)
# Calls a minute to a vendor's service: unset is the card's own limit, 0 switches pacing off.
CARD_RATES = {slug: env.int(f"{slug.upper()}_RATE") for slug in CARDS if f"{slug.upper()}_RATE" in os.environ}

# Files that merchants send. FILES_ROOT: the folder watched for drops; each account's own folder below it bears its UID.
FILES_MAX_MB = env.int("FILES_MAX_MB", default=50)
FILES_ROOT = env.str("FILES_ROOT", default="")
FILE_UPLOAD_HANDLERS = [
    "aiqsync.security.BoundedUpload",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]

UNFOLD = {
    "SITE_TITLE": "aiqsync",
    "SITE_HEADER": "aiqsync",
    "SITE_SYMBOL": "loyalty",
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "aiqsync.pages.home.dashboard",
    "STYLES": ["aiqsync.site.stylesheet"],
    "SCRIPTS": ["aiqsync.site.script"],
    "BORDER_RADIUS": "8px",
    "COLORS": {
        "primary": {
            "50": "#effaf5", "100": "#d8f3e6", "200": "#b4e6d0", "300": "#83d2b3", "400": "#4fb791",
            "500": "#2c9c76", "600": "#1e7d5f", "700": "#18644e", "800": "#16503f", "900": "#134235", "950": "#09251e",
        }
    },
    "LOGIN": {"form": "aiqsync.site.LoginForm"},
    "SIDEBAR": {"show_search": False, "navigation": "aiqsync.site.navigation"},
}  # fmt: skip

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
    "loggers": {"django.request": {"level": "ERROR"}, "urllib3": {"level": "ERROR"}, "django-q": {"level": "WARNING"}},
}
SILENCED_SYSTEM_CHECKS = ["auth.W004"]
