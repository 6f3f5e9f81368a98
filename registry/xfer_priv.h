/* The engine's side of an exchange: its curl handle. Engine thread only. */
#ifndef REGISTRY_XFER_PRIV_H
#define REGISTRY_XFER_PRIV_H

#include "registry/curl_priv.h"
#include "registry/http_priv.h"

/* Make and set up the handle; false when memory is out. */
bool xfer_easy_setup(struct xfer *x, const struct curl_api *api);
void xfer_easy_done(struct xfer *x, const struct curl_api *api);
/* Note the outcome in x->res. */
void xfer_easy_result(struct xfer *x, const struct curl_api *api, CURLcode code);
/* Set the fault, unless one is set. */
void xfer_fault(struct xfer *x, enum reg_fault fault, const char *why);

#endif
