/* The part of OpenSSL that keys need, opened when one is used: linked in, it would make the program
 * twice as large and each start slower, for something few builds do. */
#ifndef BASE_CRYPTO_API_PRIV_H
#define BASE_CRYPTO_API_PRIV_H

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

#include "base/base.h"

#define CRYPTO_FUNCTIONS(F)                 \
        F(BIO_free)                         \
        F(BIO_new_mem_buf)                  \
        F(BN_bin2bn)                        \
        F(BN_bn2bin)                        \
        F(BN_clear_free)                    \
        F(BN_num_bits)                      \
        F(CRYPTO_clear_free)                \
        F(CRYPTO_free)                      \
        F(ECDSA_SIG_free)                   \
        F(ECDSA_SIG_get0_r)                 \
        F(ECDSA_SIG_get0_s)                 \
        F(ERR_clear_error)                  \
        F(EVP_DigestSign)                   \
        F(EVP_DigestSignInit_ex)            \
        F(EVP_MD_CTX_free)                  \
        F(EVP_MD_CTX_new)                   \
        F(EVP_PKEY_CTX_free)                \
        F(EVP_PKEY_CTX_new_from_name)       \
        F(EVP_PKEY_free)                    \
        F(EVP_PKEY_fromdata)                \
        F(EVP_PKEY_fromdata_init)           \
        F(EVP_PKEY_get_bn_param)            \
        F(EVP_PKEY_get_octet_string_param)  \
        F(EVP_PKEY_get_raw_public_key)      \
        F(EVP_PKEY_get_utf8_string_param)   \
        F(EVP_PKEY_is_a)                    \
        F(EVP_PKEY_new_raw_private_key)     \
        F(OSSL_PARAM_BLD_free)              \
        F(OSSL_PARAM_BLD_new)               \
        F(OSSL_PARAM_BLD_push_BN)           \
        F(OSSL_PARAM_BLD_push_octet_string) \
        F(OSSL_PARAM_BLD_push_utf8_string)  \
        F(OSSL_PARAM_BLD_to_param)          \
        F(OSSL_PARAM_free)                  \
        F(PEM_read_bio)                     \
        F(PEM_read_bio_PrivateKey)          \
        F(d2i_ECDSA_SIG)

struct crypto_api {
#define FIELD(name) __typeof__(name) *name;
        CRYPTO_FUNCTIONS(FIELD)
#undef FIELD
};
/* Filled by crypto_open(), never changed after. */
extern struct crypto_api crypto;

/* UNSUPPORTED where libcrypto is not installed. */
int crypto_open(struct bld_err *err) MUST_CHECK;

#endif
