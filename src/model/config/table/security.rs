//! TLS, principals and delegation tokens. No listener supports TLS yet, or SASL, which delegation tokens need.
//! It must never hold anything but rows.

use super::super::key::{ConfigKey, Importance, Kind};
use super::row::{ANY, FOR_EITHER, FOR_SASL, FOR_TLS, LIST, NO_JAVA, at_least, broker_keys, one_of};

broker_keys! {
    "principal.builder.class": Class =
        "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder", ANY, Medium, PerBroker,
        NO_JAVA,
        "Class that turns a connection's identity into a principal.";
    "connections.max.reauth.ms": Long = "0", ANY, Medium, ReadOnly, FOR_SASL,
        "How long a login is good for; 0 is until the connection ends.";
    "security.providers": String = null, ANY, Low, ReadOnly, FOR_EITHER,
        "Classes that add security algorithms to Java.";
    "delegation.token.secret.key": Password = null, ANY, Medium, ReadOnly, FOR_SASL,
        "Secret that signs delegation tokens.";
    "delegation.token.max.lifetime.ms": Long = "604800000", at_least(1), Medium, ReadOnly, FOR_SASL,
        "Age beyond which a token cannot be renewed.";
    "delegation.token.expiry.time.ms": Long = "86400000", at_least(1), Medium, ReadOnly, FOR_SASL,
        "How long a token is good for before it must be renewed.";
    "delegation.token.expiry.check.interval.ms": Long = "3600000", at_least(1), Low, ReadOnly, FOR_SASL,
        "How often expired tokens are removed.";
    "ssl.client.auth": String = "none", one_of(&["required", "requested", "none"]), Medium, PerBroker, FOR_TLS,
        "Whether clients must, may or need not show a certificate.";
    "ssl.protocol": String = "TLSv1.3", ANY, Medium, PerBroker, FOR_TLS,
        "TLS version that connections start with.";
    "ssl.enabled.protocols": List = "TLSv1.2,TLSv1.3", LIST, Medium, PerBroker, FOR_TLS,
        "TLS versions that connections may use.";
    "ssl.cipher.suites": List = "", LIST, Medium, PerBroker, FOR_TLS,
        "Cipher suites that connections may use; empty allows the usual ones.";
    "ssl.provider": String = null, ANY, Medium, PerBroker, FOR_TLS,
        "Java security provider for TLS.";
    "ssl.keystore.type": String = "JKS", ANY, Medium, PerBroker, FOR_TLS,
        "Format of the key store.";
    "ssl.keystore.location": String = null, ANY, Medium, PerBroker, FOR_TLS,
        "File with this node's key and certificate.";
    "ssl.keystore.password": Password = null, ANY, Medium, PerBroker, FOR_TLS,
        "Password of the key store.";
    "ssl.keystore.key": Password = null, ANY, Medium, PerBroker, FOR_TLS,
        "This node's private key, as PEM text.";
    "ssl.keystore.certificate.chain": Password = null, ANY, Medium, PerBroker, FOR_TLS,
        "This node's certificates, as PEM text.";
    "ssl.key.password": Password = null, ANY, Medium, PerBroker, FOR_TLS,
        "Password of the private key.";
    "ssl.keymanager.algorithm": String = "SunX509", ANY, Medium, PerBroker, FOR_TLS,
        "Java algorithm that picks a key from the store.";
    "ssl.truststore.type": String = "JKS", ANY, Medium, PerBroker, FOR_TLS,
        "Format of the trust store.";
    "ssl.truststore.location": String = null, ANY, Medium, PerBroker, FOR_TLS,
        "File with the certificates that are trusted.";
    "ssl.truststore.password": Password = null, ANY, Medium, PerBroker, FOR_TLS,
        "Password of the trust store.";
    "ssl.truststore.certificates": Password = null, ANY, Medium, PerBroker, FOR_TLS,
        "Certificates that are trusted, as PEM text.";
    "ssl.trustmanager.algorithm": String = "PKIX", ANY, Medium, PerBroker, FOR_TLS,
        "Java algorithm that judges certificates.";
    "ssl.endpoint.identification.algorithm": String = "https", ANY, Low, PerBroker, FOR_TLS,
        "How the name in another node's certificate is checked; empty turns it off.";
    "ssl.secure.random.implementation": String = null, ANY, Low, PerBroker, FOR_TLS,
        "Java random generator for TLS.";
    "ssl.engine.factory.class": Class = null, ANY, Low, PerBroker, FOR_TLS,
        "Class that makes TLS engines.";
    "ssl.principal.mapping.rules": String = "DEFAULT", ANY, Low, ReadOnly, FOR_TLS,
        "Rules that turn a certificate's name into a user name.";
    "ssl.allow.dn.changes": Boolean = "false", ANY, Low, ReadOnly, FOR_TLS,
        "Whether a new certificate may carry another distinguished name.";
    "ssl.allow.san.changes": Boolean = "false", ANY, Low, ReadOnly, FOR_TLS,
        "Whether a new certificate may carry other alternative names.";
}
