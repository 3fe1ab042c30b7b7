#ifndef SHA256_H
#define SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_SIZE 32

/* A digest in the making (FIPS 180-4). */
struct sha256 {
    uint32_t state[8];
    uint64_t length;      /* bytes seen */
    uint8_t block[64];    /* the bytes of the block that is not full yet */
};

void sha256_start(struct sha256 *digest);
void sha256_add(struct sha256 *digest, const void *bytes, size_t count);
void sha256_finish(struct sha256 *digest, uint8_t result[SHA256_SIZE]);

#endif
