"""The two signing services' messages as upstream publishes them, for protobuf's own runtime."""
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory, struct_pb2

F = descriptor_pb2.FieldDescriptorProto


def _file(name, package, needs, messages):
    f = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3", dependency=needs)
    for message, fields in messages.items():
        m = f.message_type.add(name=message)
        for number, (field, kind, label) in fields.items():
            d = m.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                d.type, d.type_name = F.TYPE_MESSAGE, kind
            else:
                d.type = kind
    return f


ONE, MANY = F.LABEL_OPTIONAL, F.LABEL_REPEATED
_pool = descriptor_pool.DescriptorPool()
for needed in (duration_pb2, struct_pb2):
    _pool.AddSerializedFile(needed.DESCRIPTOR.serialized_pb)
_pool.Add(_file("ca.proto", "istio.v1.auth", ["google/protobuf/struct.proto"], {
    "IstioCertificateRequest": {1: ("csr", F.TYPE_STRING, ONE), 3: ("validity_duration", F.TYPE_INT64, ONE), 4: ("metadata", ".google.protobuf.Struct", ONE)},
    "IstioCertificateResponse": {1: ("cert_chain", F.TYPE_STRING, MANY)}}))
_pool.Add(_file("meshca.proto", "google.security.meshca.v1", ["google/protobuf/duration.proto"], {
    "MeshCertificateRequest": {1: ("request_id", F.TYPE_STRING, ONE), 2: ("csr", F.TYPE_STRING, ONE), 3: ("validity", ".google.protobuf.Duration", ONE)},
    "MeshCertificateResponse": {1: ("cert_chain", F.TYPE_STRING, MANY)}}))


def _class(name):
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(name))


IstioRequest, IstioResponse = _class("istio.v1.auth.IstioCertificateRequest"), _class("istio.v1.auth.IstioCertificateResponse")
MeshRequest, MeshResponse = _class("google.security.meshca.v1.MeshCertificateRequest"), _class("google.security.meshca.v1.MeshCertificateResponse")
ISTIO = ("/istio.v1.auth.IstioCertificateService/CreateCertificate", IstioRequest, IstioResponse)
MESH = ("/google.security.meshca.v1.MeshCertificateService/CreateCertificate", MeshRequest, MeshResponse)


def stub(channel, service):
    path, request, response = service
    return channel.unary_unary(path, request_serializer=request.SerializeToString, response_deserializer=response.FromString)
