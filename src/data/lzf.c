/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Unpacking of LZF, which h5py offers as a filter and the Multimodal Universe's files use. libhdf5 has no LZF of its own.
 *
 * The stream is a row of commands. A first byte below 32 is followed by that many plus one literal bytes. Otherwise its upper three
 * bits are a length (7: one more byte is added to it) and its lower five, with one more byte, a distance back; length + 2 bytes are
 * copied from distance + 1 bytes before the end of what is unpacked; the two may overlap. Format: Marc Lehmann, liblzf 3.6, lzf_d.c.
 */
#include <string.h>

#include "h5_layout.h"

size_t syz_lzf_unpack(const void *packed, size_t n, void *out, size_t room)
{
  const unsigned char *in = packed, *end = in + n;
  unsigned char *to = out;
  size_t done = 0;
  while (in < end) {
    size_t command = *in++;
    if (command < 32) {
      size_t length = command + 1;
      if ((size_t)(end - in) < length || room - done < length) return 0;
      memcpy(to + done, in, length);
      in += length;
      done += length;
      continue;
    }
    size_t length = command >> 5;
    if (length == 7) {
      if (in >= end) return 0;
      length += *in++;
    }
    if (in >= end) return 0;
    size_t distance = ((command & 31) << 8) + *in++ + 1;
    length += 2;
    if (distance > done || room - done < length) return 0;
    for (size_t i = 0; i < length; i++) to[done + i] = to[done + i - distance]; /* byte by byte: may overlap */
    done += length;
  }
  return done;
}
