/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The bytes of a FITS file, whatever it is packed with. Plain files are mapped; gzip, bzip2 and xz (known by their
 * first bytes, not their name: products are delivered under all of these names) are unpacked into memory, as far as
 * their FITS headers ask for and within a limit: 827 bytes of bzip2 can hold 1.7 GB.
 */
#include "unpack.h"

#include <bzlib.h>
#include <string.h>
#include <zlib.h>

/* Survey FITS files pack to between 1/2 and 1/20; beyond the first 64 MiB a ratio of 1/100 counts as a zip bomb. */
enum { FREE_BYTES = 64 << 20, RATIO = 100 };

static syz_status unpack_gzip(const char *path, const unsigned char *in, size_t n, fits_grow *g)
{
  syz_status st = SYZ_OK;
  z_stream z;
  memset(&z, 0, sizeof z);
  bool is_open = inflateInit2(&z, 15 + 16) == Z_OK;
  SYZ_REQUIRE(is_open, SYZ_ERR_MEMORY, "%s: zlib cannot start", path);
  size_t at = 0;
  for (;;) {
    if (z.avail_in == 0 && at < n) {
      size_t step = n - at > (1u << 30) ? (1u << 30) : n - at;
      z.next_in = (unsigned char *)(uintptr_t)(in + at);
      z.avail_in = (uInt)step;
      at += step;
    }
    if (g->used == g->room) SYZ_TRY(fits_grow_more(g, path));
    size_t space = g->room - g->used > (1u << 30) ? (1u << 30) : g->room - g->used;
    z.next_out = g->data + g->used;
    z.avail_out = (uInt)space;
    int code = inflate(&z, Z_NO_FLUSH);
    g->used += space - z.avail_out;
    if (code == Z_STREAM_END) {
      /* Another gzip member may follow; anything else after the end (tape padding) is ignored. */
      size_t left = z.avail_in + (n - at);
      if (left < 2 || z.avail_in < 2 || z.next_in[0] != 0x1f || z.next_in[1] != 0x8b) break;
      SYZ_REQUIRE(inflateReset(&z) == Z_OK, SYZ_ERR_DATA, "%s: gzip member cannot be read", path);
      continue;
    }
    SYZ_REQUIRE(code == Z_OK || (code == Z_BUF_ERROR && z.avail_out == 0), SYZ_ERR_DATA,
                "%s: gzip data %s (after %zu bytes)", path, code == Z_BUF_ERROR ? "cut short" : "damaged", g->used);
  }
cleanup:
  if (is_open) inflateEnd(&z);
  return st;
}

static syz_status unpack_bzip2(const char *path, const unsigned char *in, size_t n, fits_grow *g)
{
  syz_status st = SYZ_OK;
  bz_stream z;
  memset(&z, 0, sizeof z);
  bool is_open = BZ2_bzDecompressInit(&z, 0, 0) == BZ_OK;
  SYZ_REQUIRE(is_open, SYZ_ERR_MEMORY, "%s: bzip2 cannot start", path);
  size_t at = 0;
  for (;;) {
    if (z.avail_in == 0 && at < n) {
      size_t step = n - at > (1u << 30) ? (1u << 30) : n - at;
      z.next_in = (char *)(uintptr_t)(in + at);
      z.avail_in = (unsigned)step;
      at += step;
    }
    if (g->used == g->room) SYZ_TRY(fits_grow_more(g, path));
    size_t space = g->room - g->used > (1u << 30) ? (1u << 30) : g->room - g->used;
    z.next_out = (char *)g->data + g->used;
    z.avail_out = (unsigned)space;
    unsigned before = z.avail_in;
    int code = BZ2_bzDecompress(&z);
    g->used += space - z.avail_out;
    if (code == BZ_STREAM_END) {
      if (z.avail_in < 3 || memcmp(z.next_in, "BZh", 3) != 0) break;
      char *next = z.next_in;
      unsigned left = z.avail_in;
      BZ2_bzDecompressEnd(&z);
      memset(&z, 0, sizeof z);
      is_open = BZ2_bzDecompressInit(&z, 0, 0) == BZ_OK;
      SYZ_REQUIRE(is_open, SYZ_ERR_MEMORY, "%s: bzip2 cannot start", path);
      z.next_in = next;
      z.avail_in = left;
      continue;
    }
    SYZ_REQUIRE(code == BZ_OK, SYZ_ERR_DATA, "%s: bzip2 data damaged (after %zu bytes)", path, g->used);
    SYZ_REQUIRE(z.avail_out == 0 || z.avail_in != before || at < n, SYZ_ERR_DATA,
                "%s: bzip2 data cut short (after %zu bytes)", path, g->used);
  }
cleanup:
  if (is_open) BZ2_bzDecompressEnd(&z);
  return st;
}

syz_status fits_bytes_load(const char *path, fits_bytes *out)
{
  syz_status st = SYZ_OK;
  fits_grow g = {0};
  memset(out, 0, sizeof *out);
  SYZ_TRY(fits_map_open(path, &out->map));
  out->size = out->map.size;
  out->data = out->map.base;
  bool is_gzip = out->size > 18 && out->data[0] == 0x1f && out->data[1] == 0x8b;
  bool is_bzip2 = out->size > 14 && memcmp(out->data, "BZh", 3) == 0;
  bool is_xz = out->size > 32 && memcmp(out->data, "\3757zXZ", 6) == 0;
  if (is_gzip || is_bzip2 || is_xz) {
    g.limit = syz_memory_share() / 2;
    const size_t by_ratio = out->size > FREE_BYTES / RATIO ? out->size * RATIO : FREE_BYTES;
    if (by_ratio < g.limit) g.limit = by_ratio;
    g.room = out->size < g.limit / 4 ? out->size * 4 : g.limit;
    SYZ_ALLOC(g.data, "unpacked FITS file", g.room);
    if (is_gzip)
      SYZ_TRY(unpack_gzip(path, out->data, out->size, &g));
    else if (is_xz)
      SYZ_TRY(fits_unpack_xz(path, out->data, out->size, &g));
    else
      SYZ_TRY(unpack_bzip2(path, out->data, out->size, &g));
    SYZ_TRY(fits_map_check(&out->map, path));
    fits_map_close(&out->map);
    out->data = out->owned = g.data;
    out->size = g.used;
    g.data = NULL;
  }
cleanup:
  syz_free(&g.data);
  if (st != SYZ_OK) fits_bytes_free(out);
  return st;
}

void fits_bytes_free(fits_bytes *b)
{
  fits_map_close(&b->map);
  syz_free(&b->owned);
  memset(b, 0, sizeof *b);
}
