#include "control/webhook.h"

#include "control/validate.h"

bool rs_webhook_of_path(const char *path, enum rs_webhook *ret)
{
    if (strcmp(path, "/inject") == 0 || rs_starts(path, "/inject/"))
        *ret = RS_WEBHOOK_INJECT;
    else if (strcmp(path, "/validate") == 0 || rs_starts(path, "/validate/"))
        *ret = RS_WEBHOOK_VALIDATE;
    else
        return false;
    return true;
}

static void deny(json_t *response, const char *message)
{
    json_object_set_new(response, "allowed", json_false());
    json_object_set_new(response, "status", rs_json_pack("{s:i, s:s, s:s}", "code", 400, "reason", "BadRequest", "message", message));
}

static void inject(const rs_injector *i, const json_t *request, json_t *response, struct rs_webhook_result *result)
{
    RS_AUTO(json_t) *patch = NULL;
    struct rs_err e;
    const char *namespace = rs_json_str(request, "namespace");
    if (rs_inject(i, json_object_get(request, "object"), namespace ? namespace : "", &patch, &result->why, &e) < 0) {
        result->allowed = false;
        deny(response, e.msg);
        return;
    }
    if (!patch)
        return;
    RS_AUTO(rs_chars) *text = rs_json_text(patch);
    RS_AUTO(rs_chars) *coded = rs_base64(text, strlen(text));
    rs_json_set_str(response, "patchType", "JSONPatch");
    rs_json_set_str(response, "patch", coded);
    result->patched = true;
}

static void validate(const json_t *request, json_t *response, struct rs_webhook_result *result)
{
    RS_AUTO(json_t) *warnings = json_array();
    struct rs_err e;
    if (rs_validate(json_object_get(request, "object"), warnings, &e) < 0) {
        result->allowed = false;
        deny(response, e.msg);
    }
    if (json_array_size(warnings))
        json_object_set(response, "warnings", warnings);
}

int rs_webhook_answer(enum rs_webhook which, const rs_injector *injector, rs_str body, json_t **ret, struct rs_webhook_result *result, struct rs_err *e)
{
    RS_AUTO(json_t) *review = NULL;
    *result = (struct rs_webhook_result){ .allowed = true };
    if (rs_json_parse(&review, body, e) < 0)
        return e->code = RS_INVALID, rs_err_wrap(e, "AdmissionReview");
    const json_t *request = json_object_get(review, "request");
    const char *uid = rs_json_str(request, "uid"), *version = rs_json_str(review, "apiVersion"), *operation = rs_json_str(request, "operation");
    if (!uid || !rs_streq(rs_json_str(review, "kind"), "AdmissionReview"))
        return RS_FAIL(e, RS_INVALID, "the body is no AdmissionReview");
    if (!rs_streq(version, "admission.k8s.io/v1") && !rs_streq(version, "admission.k8s.io/v1beta1"))
        return RS_FAIL(e, RS_INVALID, "AdmissionReview of version \"%s\" is not known", version ? version : "");
    bool object = json_is_object(json_object_get(request, "object"));
    if (!object && !rs_streq(operation, "DELETE"))
        return RS_FAIL(e, RS_INVALID, "the AdmissionReview has no object");
    RS_AUTO(json_t) *response = rs_json_pack("{s:s, s:b}", "uid", uid, "allowed", 1);
    if (object && which == RS_WEBHOOK_INJECT)
        inject(injector, request, response, result);
    else if (object)
        validate(request, response, result);
    *ret = rs_json_pack("{s:s, s:s, s:O}", "apiVersion", version, "kind", "AdmissionReview", "response", response);
    return 0;
}
