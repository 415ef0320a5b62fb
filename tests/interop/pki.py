"""Keys, certificates, CSRs and tokens made by the Python cryptography package: an independent second opinion."""
import base64
import datetime
import hashlib
import json
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.timezone.utc)


def pem(o):
    if hasattr(o, "private_bytes"):
        return o.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    return o.public_bytes(serialization.Encoding.PEM).decode()


def key(kind="P256"):
    if kind.startswith("RSA"):
        return rsa.generate_private_key(65537, int(kind[3:]))
    return ec.generate_private_key({"P256": ec.SECP256R1, "P384": ec.SECP384R1, "P521": ec.SECP521R1}[kind]())


def ca(name, own_key, issuer=None, issuer_key=None, days=3650, path_length=None):
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])
    b = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject if issuer else subject).public_key(own_key.public_key())
         .serial_number(x509.random_serial_number()).not_valid_before(NOW - datetime.timedelta(hours=1)).not_valid_after(NOW + datetime.timedelta(days=days))
         .add_extension(x509.BasicConstraints(True, path_length), True)
         .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)
         .add_extension(x509.SubjectKeyIdentifier.from_public_key(own_key.public_key()), False))
    return b.sign(issuer_key or own_key, hashes.SHA256())


def csr(own_key, uri="spiffe://elsewhere/ns/x/sa/y"):
    """As pilot-agent's: subject O="" and one critical URI."""
    empty = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "", _validate=False)])
    b = x509.CertificateSigningRequestBuilder().subject_name(empty)
    return pem(b.add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), True).sign(own_key, hashes.SHA256()))


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def kid(k):
    return b64(hashlib.sha256(k.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)).digest())


def jwks(*keys):
    out = []
    for k in keys:
        n = k.public_key().public_numbers()
        out.append({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid(k), "x": b64(n.x.to_bytes(32, "big")), "y": b64(n.y.to_bytes(32, "big"))})
    return {"keys": out}


def token(k, issuer, audience, namespace="shop", account="web", pod="web-1", uid="1b4e28ba-2fa1-11d2-883f-0016d3cca427", ttl=3600, **more):
    claims = {"iss": issuer, "aud": [audience], "exp": int(time.time()) + ttl, "iat": int(time.time()), "sub": f"system:serviceaccount:{namespace}:{account}",
              "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account, "uid": "u"}, "pod": {"name": pod, "uid": uid}}} | more
    return sign(k, {"alg": "ES256", "kid": kid(k)}, claims)


def sign(k, header, claims):
    text = b64(json.dumps(header).encode()) + "." + b64(json.dumps(claims).encode())
    r, s = utils.decode_dss_signature(k.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return text + "." + b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
