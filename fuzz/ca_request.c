#include <stdint.h>

#include "istio_ca.pb-c.h"
#include "mesh_ca.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The two signing requests as they come from the network. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Istio__V1__Auth__IstioCertificateRequest *istio = istio__v1__auth__istio_certificate_request__unpack(NULL, size, data);
    Google__Security__Meshca__V1__MeshCertificateRequest *mesh = google__security__meshca__v1__mesh_certificate_request__unpack(NULL, size, data);
    if (istio)
        istio__v1__auth__istio_certificate_request__free_unpacked(istio, NULL);
    if (mesh)
        google__security__meshca__v1__mesh_certificate_request__free_unpacked(mesh, NULL);
    return 0;
}
