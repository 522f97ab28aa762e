/* SPDX-License-Identifier: BSD-3-Clause */
/** Unpacking xz: its own checks (CRC or SHA-256) find damage. */
#include <lzma.h>

#include "unpack.h"

/* Memory limit of a decoder: a dictionary of 64 MiB (xz -9) and some more; the format would allow 4 GiB. */
static const uint64_t DECODER_BYTES = (uint64_t)192 << 20;

syz_status fits_unpack_xz(const char *path, const unsigned char *in, size_t n, fits_grow *g)
{
  syz_status st = SYZ_OK;
  lzma_stream z = LZMA_STREAM_INIT;
  lzma_ret code = lzma_stream_decoder(&z, DECODER_BYTES, LZMA_CONCATENATED);
  SYZ_REQUIRE(code == LZMA_OK, SYZ_ERR_MEMORY, "%s: liblzma cannot start", path);
  z.next_in = in;
  z.avail_in = n;
  while (code != LZMA_STREAM_END) {
    if (g->used == g->room) SYZ_TRY(fits_grow_more(g, path));
    size_t space = g->room - g->used;
    z.next_out = g->data + g->used;
    z.avail_out = space;
    code = lzma_code(&z, LZMA_FINISH);
    g->used += space - z.avail_out;
    SYZ_REQUIRE(code != LZMA_MEM_ERROR, SYZ_ERR_MEMORY, "%s: no memory to unpack it", path);
    SYZ_REQUIRE(code != LZMA_MEMLIMIT_ERROR, SYZ_ERR_DATA, "%s: xz data with a dictionary of more than 64 MiB", path);
    SYZ_REQUIRE(code == LZMA_OK || code == LZMA_STREAM_END, SYZ_ERR_DATA, "%s: xz data %s (after %zu bytes)", path,
                code == LZMA_BUF_ERROR ? "cut short" : "damaged", g->used);
  }
cleanup:
  lzma_end(&z);
  return st;
}
