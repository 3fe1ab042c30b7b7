#ifndef HEX_H
#define HEX_H

#include <stddef.h>
#include <stdint.h>

/* Writes 2 * count digits and a final zero into text. */
void hex(const uint8_t *bytes, size_t count, char *text);

#endif
