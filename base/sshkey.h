/* Private keys as ssh keeps them, for signing only: PEM (PKCS#8, PKCS#1, SEC1) and OpenSSH's own
 * form; RSA, ECDSA on the NIST curves, Ed25519. Keys behind a passphrase are refused.
 * Threads: a key is MT-Safe to use once made. */
#ifndef BASE_SSHKEY_H
#define BASE_SSHKEY_H

#include "base/base.h"
#include "base/sb.h"

struct ssh_key;

/* Errors: INVALID (not a key that can be read), UNSUPPORTED (a passphrase, another kind), NOMEM.
 * Messages hold nothing of the text. Caller: ssh_key_free. */
int ssh_key_parse(const char *text, size_t len, struct ssh_key **ret,
                  struct bld_err *err) MUST_CHECK;
void ssh_key_free(struct ssh_key *k);

/* The public half as it goes over the wire (RFC 4253, 5656, 8709), borrowed. */
const void *ssh_key_public(const struct ssh_key *k, size_t *ret_len);

/* A signature of the data, appended as it goes over the wire. flags: of the agent protocol. */
enum ssh_sign_flags { SSH_SIGN_SHA256 = 2, SSH_SIGN_SHA512 = 4 };
int ssh_key_sign(const struct ssh_key *k, const void *data, size_t len, unsigned flags,
                 struct sb *out, struct bld_err *err) MUST_CHECK;

/* The wire's numbers and strings, for those who speak of keys. */
void ssh_put_u32(struct sb *b, size_t v);
void ssh_put_string(struct sb *b, const void *p, size_t n);

struct ssh_reader {
        const unsigned char *p;
        size_t left;
        bool bad; /* something was not there; then all that follows is empty, too */
};
uint32_t ssh_get_u32(struct ssh_reader *r);
const unsigned char *ssh_get_string(struct ssh_reader *r, size_t *ret_len); /* borrowed */

#endif
