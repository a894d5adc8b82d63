"""Kafka URLs come in, typed addresses go out. No message ever repeats a part of the URL that may hold a password.

kafka://host:port,host:port/topic?group=GROUP&start=earliest|latest
kafka://user@host:port/topic?group=GROUP&password_env=VARIABLE&tls=true&sasl=SCRAM-SHA-512&ca=FILE&certificate=FILE&key=FILE

`password_file=PATH` instead of `password_env`, `key_password_env` and `key_password_file` for the key's: transforms/secret.py.
"""

from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from schemas.errors import ConfigError
from transforms.secret import NO_SECRET, Secret, secret_of

FORM = "kafka://host:port/topic?group=GROUP"
PORT = 9092
_SWITCH = {"true": True, "false": False}
_STARTS = ("earliest", "latest")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_SECRETS = ("password_env", "password_file", "key_password_env", "key_password_file")
_OPTIONS = ("group", "start", "tls", "sasl", "ca", "certificate", "key", *_SECRETS)


@dataclass(frozen=True)
class KafkaAt:
    """A topic, and how its brokers are reached.

    Args:
        servers: `host:port,host:port`.
        group: the consumer group under which offsets are committed; empty for a producer.
        start: where a group without offsets begins: `earliest` or `latest`.
        sasl: a mechanism, or empty.
        ca, certificate, key: PEM files.
        key_password: of the key's file.
    """

    servers: str
    topic: str
    group: str = ""
    start: str = "earliest"
    user: str = ""
    password: Secret = NO_SECRET
    tls: bool = False
    sasl: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""
    key_password: Secret = NO_SECRET

    @property
    def where(self) -> str:
        """Return the URL without user and password."""
        return f"kafka://{self.servers}/{self.topic}" + (f"?group={self.group}" if self.group else "")

    def settings(self) -> dict[str, str]:
        """Return librdkafka's settings for the connection, passwords as they are now.

        Raises:
            ConfigError: a password is not where the URL says.
        """
        protocol = ("SASL_" if self.sasl else "") + ("SSL" if self.tls else "PLAINTEXT")
        chosen = {
            "bootstrap.servers": self.servers,
            "security.protocol": protocol,
            "sasl.mechanism": self.sasl,
            "sasl.username": self.user,
            "sasl.password": self.password.read(),
            "ssl.ca.location": self.ca,
            "ssl.certificate.location": self.certificate,
            "ssl.key.location": self.key,
            "ssl.key.password": self.key_password.read(),
        }
        return {name: value for name, value in chosen.items() if value}


def parse(url: str) -> KafkaAt:
    """Return the address that a URL names.

    Raises:
        ConfigError: it is not one.
    """
    parts = _split(url)
    credentials, _, servers = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    topic = parts.path.strip("/")
    if parts.scheme != "kafka" or not servers or not topic or "/" in topic:
        raise ConfigError(f"{parts.scheme}://...{parts.path} is not a topic of Kafka", f"write it as {FORM}")
    for name, value in options.items():
        if name not in _OPTIONS:
            raise ConfigError(f"a Kafka URL has no option {name}", f"it has {', '.join(_OPTIONS)}")
        if name == "start" and value not in _STARTS:
            raise ConfigError(f"start={value}", f"a group without offsets begins at {' or '.join(_STARTS)}")
        if name == "tls" and value not in _SWITCH:
            raise ConfigError(f"tls={value}", "it is true or false")
        if name == "sasl" and value not in _MECHANISMS:
            raise ConfigError(f"sasl={value}", f"it is one of {', '.join(_MECHANISMS)}")
    if bool(options.get("sasl")) != bool(user):
        raise ConfigError("sasl and a user go together", "write kafka://user@host:port/topic?sasl=PLAIN&password_env=VARIABLE")
    tls = _SWITCH[options.pop("tls", "false")]
    hosts = ",".join(host if _has_port(host) else f"{host}:{PORT}" for host in servers.split(","))
    secrets = {name: secret_of(options, name, text) for name, text in (("password", unquote(password)), ("key_password", ""))}
    others = {name: value for name, value in options.items() if name not in _SECRETS}
    return KafkaAt(hosts, unquote(topic), user=unquote(user), tls=tls, **secrets, **others)  # type: ignore[arg-type]


def _split(url: str) -> SplitResult:
    encode = "percent-encode special characters of user and password: / is %2F, ? is %3F, # is %23, @ is %40, [ is %5B"
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None or parts.fragment or "@" in parts.path + parts.query:
        raise ConfigError("kafka://...: cannot take the URL apart", f"write it as {FORM}; {encode}")
    return parts


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit()
