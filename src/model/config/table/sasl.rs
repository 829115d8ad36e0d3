//! SASL. No listener supports it yet, and other listeners do not need these keys.
//! It must never hold anything but rows.

use super::super::key::{ConfigKey, Importance, Kind, Valid};
use super::row::{ANY, FOR_SASL, LIST, between, broker_keys};

broker_keys! {
    "sasl.enabled.mechanisms": List = "GSSAPI", LIST, Medium, PerBroker, FOR_SASL,
        "Mechanisms by which clients may log in.";
    "sasl.mechanism.inter.broker.protocol": String = "GSSAPI", ANY, Medium, PerBroker, FOR_SASL,
        "Mechanism by which brokers log in to each other.";
    "sasl.mechanism.controller.protocol": String = "GSSAPI", ANY, High, ReadOnly, FOR_SASL,
        "Mechanism by which nodes log in to controllers.";
    "sasl.jaas.config": Password = null, ANY, Medium, PerBroker, FOR_SASL,
        "Login modules and their options, in the JAAS form.";
    "sasl.server.callback.handler.class": Class = null, ANY, Medium, ReadOnly, FOR_SASL,
        "Class that checks what clients log in with.";
    "sasl.client.callback.handler.class": Class = null, ANY, Medium, ReadOnly, FOR_SASL,
        "Class that supplies what this node logs in with.";
    "sasl.login.callback.handler.class": Class = null, ANY, Medium, ReadOnly, FOR_SASL,
        "Class that supplies what a login module asks for.";
    "sasl.login.class": Class = null, ANY, Medium, ReadOnly, FOR_SASL,
        "Class that performs this node's own login.";
    "sasl.server.max.receive.size": Int = "524288", ANY, Medium, ReadOnly, FOR_SASL,
        "Largest message that is read before a client has logged in.";
    "sasl.kerberos.service.name": String = null, ANY, Medium, PerBroker, FOR_SASL,
        "Name under which Kerberos knows the brokers.";
    "sasl.kerberos.principal.to.local.rules": List = "DEFAULT", LIST, Medium, PerBroker, FOR_SASL,
        "Rules that turn a Kerberos name into a user name.";
    "sasl.kerberos.kinit.cmd": String = "/usr/bin/kinit", ANY, Medium, PerBroker, FOR_SASL,
        "Path of the command that renews tickets.";
    "sasl.kerberos.ticket.renew.window.factor": Double = "0.8", ANY, Medium, PerBroker, FOR_SASL,
        "Share of a ticket's life after which it is renewed.";
    "sasl.kerberos.ticket.renew.jitter": Double = "0.05", ANY, Medium, PerBroker, FOR_SASL,
        "Random share added to the time of renewal.";
    "sasl.kerberos.min.time.before.relogin": Long = "60000", ANY, Medium, PerBroker, FOR_SASL,
        "Shortest time between two renewals.";
    "sasl.login.refresh.window.factor": Double = "0.8", ANY, Medium, PerBroker, FOR_SASL,
        "Share of a credential's life after which it is refreshed.";
    "sasl.login.refresh.window.jitter": Double = "0.05", ANY, Medium, PerBroker, FOR_SASL,
        "Random share added to the time of the refresh.";
    "sasl.login.refresh.min.period.seconds": Short = "60", ANY, Medium, PerBroker, FOR_SASL,
        "Shortest time between two refreshes.";
    "sasl.login.refresh.buffer.seconds": Short = "300", ANY, Medium, PerBroker, FOR_SASL,
        "Time before its end by which a credential is refreshed.";
    "sasl.login.connect.timeout.ms": Int = null, ANY, Low, ReadOnly, FOR_SASL,
        "Time to connect to the identity provider.";
    "sasl.login.read.timeout.ms": Int = null, ANY, Low, ReadOnly, FOR_SASL,
        "Time to read from the identity provider.";
    "sasl.login.retry.backoff.ms": Long = "100", ANY, Low, ReadOnly, FOR_SASL,
        "First pause after a failed call of the identity provider.";
    "sasl.login.retry.backoff.max.ms": Long = "10000", ANY, Low, ReadOnly, FOR_SASL,
        "Longest pause after failed calls of the identity provider.";
    "sasl.oauthbearer.token.endpoint.url": String = null, ANY, Medium, ReadOnly, FOR_SASL,
        "Where this node gets its own tokens.";
    "sasl.oauthbearer.jwks.endpoint.url": String = null, ANY, Medium, ReadOnly, FOR_SASL,
        "Where the keys that sign tokens are published.";
    "sasl.oauthbearer.jwks.endpoint.refresh.ms": Long = "3600000", ANY, Low, ReadOnly, FOR_SASL,
        "How often those keys are read again.";
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms": Long = "100", ANY, Low, ReadOnly, FOR_SASL,
        "First pause after those keys could not be read.";
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms": Long = "10000", ANY, Low, ReadOnly, FOR_SASL,
        "Longest pause after those keys could not be read.";
    "sasl.oauthbearer.expected.audience": List = "", LIST, High, ReadOnly, FOR_SASL,
        "Audiences that a token must be meant for.";
    "sasl.oauthbearer.expected.issuer": String = null, ANY, High, ReadOnly, FOR_SASL,
        "Issuer that a token must come from.";
    "sasl.oauthbearer.allow.unverified.audience": Boolean = "false", ANY, Medium, ReadOnly, FOR_SASL,
        "Whether tokens pass without a check of their audience.";
    "sasl.oauthbearer.allow.unverified.issuer": Boolean = "false", ANY, Medium, ReadOnly, FOR_SASL,
        "Whether tokens pass without a check of their issuer.";
    "sasl.oauthbearer.clock.skew.seconds": Int = "30", ANY, Low, ReadOnly, FOR_SASL,
        "How far clocks may differ when a token's times are checked.";
    "sasl.oauthbearer.scope.claim.name": String = "scope", ANY, Low, ReadOnly, FOR_SASL,
        "Claim that holds a token's scope.";
    "sasl.oauthbearer.sub.claim.name": String = "sub", ANY, Low, ReadOnly, FOR_SASL,
        "Claim that holds a token's subject.";
    "sasl.oauthbearer.jwt.retriever.class": Class =
        "org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever", ANY, Medium, ReadOnly, FOR_SASL,
        "Class that gets this node's tokens.";
    "sasl.oauthbearer.jwt.validator.class": Class =
        "org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator", ANY, Medium, ReadOnly, FOR_SASL,
        "Class that checks clients' tokens.";
    "sasl.oauthbearer.scope": String = null, ANY, Medium, ReadOnly, FOR_SASL,
        "Scope that this node asks a token for.";
    "sasl.oauthbearer.client.credentials.client.id": String = null, ANY, Medium, ReadOnly, FOR_SASL,
        "Client id with which this node asks for a token.";
    "sasl.oauthbearer.client.credentials.client.secret": Password = null, ANY, Medium, ReadOnly, FOR_SASL,
        "Client secret with which this node asks for a token.";
    "sasl.oauthbearer.assertion.algorithm": String = "RS256", Valid::OneOfAnyCase(&["ES256", "RS256"]),
        Medium, ReadOnly, FOR_SASL,
        "Algorithm that signs this node's assertions.";
    "sasl.oauthbearer.assertion.file": String = null, ANY, Medium, ReadOnly, FOR_SASL,
        "File with an assertion made beforehand.";
    "sasl.oauthbearer.assertion.template.file": String = null, ANY, Medium, ReadOnly, FOR_SASL,
        "File with a template for this node's assertions.";
    "sasl.oauthbearer.assertion.private.key.file": String = null, ANY, Medium, ReadOnly, FOR_SASL,
        "File with the key that signs this node's assertions.";
    "sasl.oauthbearer.assertion.private.key.passphrase": Password = null, ANY, Medium, ReadOnly, FOR_SASL,
        "Password of that key.";
    "sasl.oauthbearer.assertion.claim.aud": String = null, ANY, Medium, ReadOnly, FOR_SASL,
        "Audience of this node's assertions.";
    "sasl.oauthbearer.assertion.claim.iss": String = null, ANY, Medium, ReadOnly, FOR_SASL,
        "Issuer of this node's assertions.";
    "sasl.oauthbearer.assertion.claim.sub": String = null, ANY, Medium, ReadOnly, FOR_SASL,
        "Subject of this node's assertions.";
    "sasl.oauthbearer.assertion.claim.exp.seconds": Int = "300", between(0, 86400), Low, ReadOnly, FOR_SASL,
        "How long this node's assertions are good for.";
    "sasl.oauthbearer.assertion.claim.nbf.seconds": Int = "60", between(0, 3600), Low, ReadOnly, FOR_SASL,
        "How long before now this node's assertions begin to be good.";
    "sasl.oauthbearer.assertion.claim.jti.include": Boolean = "false", ANY, Medium, ReadOnly, FOR_SASL,
        "Whether this node's assertions carry a unique id.";
}
