/* Prints the SHA-256 digests of files, or of standard input, as sha256sum does. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hex.h"
#include "sha256.h"

static int print_digest(FILE *file, const char *name)
{
    struct sha256 digest;
    sha256_start(&digest);
    char buffer[65536];
    size_t count;
    while ((count = fread(buffer, 1, sizeof buffer, file)) > 0)
        sha256_add(&digest, buffer, count);
    if (ferror(file)) {
        fprintf(stderr, "sha256: %s: %s\n", name, strerror(errno));
        return 1;
    }
    uint8_t result[SHA256_SIZE];
    char text[2 * SHA256_SIZE + 1];
    sha256_finish(&digest, result);
    hex(result, sizeof result, text);
    printf("%s  %s\n", text, name);
    return 0;
}

int main(int count, char **arguments)
{
    if (count < 2)
        return print_digest(stdin, "-");
    int status = 0;
    for (int i = 1; i < count; i++) {
        FILE *file = fopen(arguments[i], "rb");
        if (file == NULL) {
            fprintf(stderr, "sha256: %s: %s\n", arguments[i], strerror(errno));
            status = 1;
            continue;
        }
        status |= print_digest(file, arguments[i]);
        fclose(file);
    }
    return status;
}
