/* The examples of FIPS 180-4, and every way to cut a message into pieces. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hex.h"
#include "sha256.h"

static int tests, failures;

static void expect(const char *what, struct sha256 *digest, const char *expected)
{
    uint8_t result[SHA256_SIZE];
    char text[2 * SHA256_SIZE + 1];
    sha256_finish(digest, result);
    hex(result, sizeof result, text);
    tests++;
    if (strcmp(text, expected) != 0) {
        failures++;
        printf("FAILED  %s\n  expected %s\n  but got  %s\n", what, expected, text);
    }
}

static void whole(const char *what, const char *message, const char *expected)
{
    struct sha256 digest;
    sha256_start(&digest);
    sha256_add(&digest, message, strlen(message));
    expect(what, &digest, expected);
}

int main(void)
{
    whole("the empty message", "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    whole("one block", "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    whole("two blocks", "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");

    struct sha256 digest;
    sha256_start(&digest);
    for (int i = 0; i < 1000000; i++)
        sha256_add(&digest, "a", 1);
    expect("a million letters", &digest, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");

    char message[200];
    memset(message, 'x', sizeof message);
    uint8_t reference[SHA256_SIZE];
    char text[2 * SHA256_SIZE + 1];
    sha256_start(&digest);
    sha256_add(&digest, message, sizeof message);
    sha256_finish(&digest, reference);
    hex(reference, sizeof reference, text);
    for (size_t cut = 0; cut <= sizeof message; cut++) {
        sha256_start(&digest);
        sha256_add(&digest, message, cut);
        sha256_add(&digest, message + cut, sizeof message - cut);
        expect("a message in two pieces", &digest, text);
    }

    printf("%d tests, %d failed\n", tests, failures);
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
