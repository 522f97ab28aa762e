/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Writing FITS: headers, plain images and tables by own code, block by block; tile-compressed images by cfitsio into
 * memory, from where the finished HDU is appended. Every HDU carries CHECKSUM and DATASUM. The file has its final name
 * only when complete.
 */
#include "cards.h"
#include "syzygy/files.h"

#include <errno.h>
#include <fcntl.h>
#include <fitsio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct syz_fits_out {
  char *path, *temporary;
  FILE *file;
  bool has_primary;
};

enum { WRITE_BLOCK = 1 << 20 };

syz_status syz_fits_create(const char *path, syz_fits_out **out)
{
  syz_status st = SYZ_OK;
  syz_fits_out *o = NULL;
  size_t length = strlen(path);
  int fd;
  *out = NULL;
  SYZ_ALLOC(o, "FITS output", 1);
  SYZ_ALLOC(o->path, "FITS path", length + 1);
  SYZ_ALLOC(o->temporary, "FITS path", length + 5);
  memcpy(o->path, path, length);
  snprintf(o->temporary, length + 5, "%s.tmp", path);
  SYZ_TRY(syz_refuse_link(path));
  SYZ_TRY(syz_file_open(o->temporary, O_WRONLY | O_CREAT | O_TRUNC, &fd));
  o->file = fdopen(fd, "wb");
  if (!o->file) close(fd);
  SYZ_REQUIRE(o->file, SYZ_ERR_WRITE, "%s: cannot be created: %s", o->temporary, strerror(errno));
  *out = o;
  o = NULL;
cleanup:
  syz_fits_out_destroy(&o);
  return st;
}

void syz_fits_out_destroy(syz_fits_out **out)
{
  syz_fits_out *o = *out;
  if (!o) return;
  if (o->file) {
    fclose(o->file);
    unlink(o->temporary);
  }
  syz_free(&o->path);
  syz_free(&o->temporary);
  syz_free(out);
}

static syz_status put(syz_fits_out *o, const void *bytes, size_t n)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(fwrite(bytes, 1, n, o->file) == n, SYZ_ERR_WRITE, "%s: cannot write %zu bytes: %s", o->temporary, n,
              strerror(errno));
cleanup:
  return st;
}

/* Pad to the block, rewrite the header with the checksums, and return to the end. */
static syz_status seal(syz_fits_out *o, syz_fits_cards *c, size_t header_bytes, off_t header_at, uint64_t data_bytes,
                       uint64_t sum)
{
  syz_status st = SYZ_OK;
  static const char zero[FITS_BLOCK];
  if (data_bytes % FITS_BLOCK) SYZ_TRY(put(o, zero, FITS_BLOCK - (size_t)(data_bytes % FITS_BLOCK)));
  SYZ_TRY(fits_cards_seal(c, header_bytes, (uint32_t)sum));
  SYZ_REQUIRE(fseeko(o->file, header_at, SEEK_SET) == 0, SYZ_ERR_WRITE, "%s: %s", o->temporary, strerror(errno));
  SYZ_TRY(put(o, c->text, header_bytes));
  SYZ_REQUIRE(fseeko(o->file, 0, SEEK_END) == 0, SYZ_ERR_WRITE, "%s: %s", o->temporary, strerror(errno));
cleanup:
  return st;
}

syz_status syz_fits_out_primary(syz_fits_out *o, const syz_fits_card *cards, int n_cards)
{
  syz_status st = SYZ_OK;
  syz_fits_cards c = {NULL, 0, 0};
  size_t bytes = 0;
  SYZ_REQUIRE(!o->has_primary, SYZ_ERR_INTERNAL, "%s: the primary HDU must come first, once", o->path);
  SYZ_TRY(fits_cards_primary(&c, cards, n_cards));
  SYZ_TRY(fits_cards_end(&c, &bytes));
  SYZ_TRY(fits_cards_seal(&c, bytes, 0));
  SYZ_TRY(put(o, c.text, bytes));
  o->has_primary = true;
cleanup:
  syz_fits_cards_free(&c);
  return st;
}

/* ----------------------------------------------------------------- images */

static syz_status plain_image(syz_fits_out *o, const char *extname, int bitpix, int naxis, const int64_t *shape,
                              const void *data, int64_t pixels, const syz_fits_card *cards, int n_cards)
{
  syz_status st = SYZ_OK;
  syz_fits_cards c = {NULL, 0, 0};
  unsigned char *block = NULL;
  size_t bytes = 0;
  char key[24];
  int item = abs(bitpix) / 8;
  off_t at = ftello(o->file);
  SYZ_ALLOC(block, "FITS block", WRITE_BLOCK);
  SYZ_TRY(syz_fits_cards_add(&c, &SYZ_CARD_TEXT("XTENSION", "IMAGE", "image extension")));
  SYZ_TRY(syz_fits_cards_add(&c, &SYZ_CARD_INT("BITPIX", bitpix, NULL)));
  SYZ_TRY(syz_fits_cards_add(&c, &SYZ_CARD_INT("NAXIS", naxis, NULL)));
  for (int i = 0; i < naxis; i++) {
    snprintf(key, sizeof key, "NAXIS%d", i + 1);
    SYZ_TRY(syz_fits_cards_add(&c, &SYZ_CARD_INT(key, shape[naxis - 1 - i], NULL)));
  }
  SYZ_TRY(syz_fits_cards_add(&c, &SYZ_CARD_INT("PCOUNT", 0, NULL)));
  SYZ_TRY(syz_fits_cards_add(&c, &SYZ_CARD_INT("GCOUNT", 1, NULL)));
  SYZ_TRY(syz_fits_cards_add(&c, &SYZ_CARD_TEXT("EXTNAME", extname, NULL)));
  SYZ_TRY(fits_cards_add_all(&c, cards, n_cards));
  SYZ_TRY(fits_cards_end(&c, &bytes));
  SYZ_TRY(put(o, c.text, bytes));
  uint64_t sum = 0;
  for (int64_t i = 0, step = WRITE_BLOCK / item; i < pixels; i += step) {
    int64_t n = pixels - i < step ? pixels - i : step;
    fits_swap(block, (const unsigned char *)data + i * item, n, item);
    sum = fits_sum(block, (size_t)(n * item), 0, sum); /* blocks are whole words but for the last */
    SYZ_TRY(put(o, block, (size_t)(n * item)));
  }
  SYZ_TRY(seal(o, &c, bytes, at, (uint64_t)pixels * (uint64_t)item, sum));
cleanup:
  syz_free(&block);
  syz_fits_cards_free(&c);
  return st;
}

static syz_status packed_image(syz_fits_out *o, const char *extname, int bitpix, int naxis, const int64_t *shape,
                               const void *data, int64_t pixels, syz_fits_packing packing, const syz_fits_card *cards,
                               int n_cards)
{
  syz_status st = SYZ_OK;
  fitsfile *file = NULL;
  void *memory = NULL;
  size_t size = 0;
  int status = 0;
  long naxes[SYZ_FITS_AXES], tile[SYZ_FITS_AXES];
  for (int i = 0; i < naxis; i++) {
    naxes[i] = (long)shape[naxis - 1 - i];
    tile[i] = i < 2 ? (naxes[i] < 100 ? naxes[i] : 100) : 1;
  }
  if (packing == SYZ_FITS_GZIP)
    for (int i = 0; i < naxis; i++) tile[i] = i == 0 ? naxes[0] : 1; /* row by row, as DESI has it */
  memory = malloc(FITS_BLOCK);                                       /* cfitsio enlarges it with realloc */
  SYZ_REQUIRE(memory, SYZ_ERR_MEMORY, "%s: no memory", o->path);
  size = FITS_BLOCK;
  fits_create_memfile(&file, &memory, &size, 16 << 20, realloc, &status);
  fits_set_compression_type(file, packing == SYZ_FITS_GZIP ? GZIP_1 : RICE_1, &status);
  fits_set_tile_dim(file, naxis, tile, &status);
  if (bitpix < 0) {
    fits_set_quantize_level(file, packing == SYZ_FITS_GZIP ? 0.0f : 16.0f, &status);
    fits_set_quantize_dither(file, packing == SYZ_FITS_RICE_DITHER ? SUBTRACTIVE_DITHER_2 : NO_DITHER, &status);
    if (packing == SYZ_FITS_RICE_DITHER)
      fits_set_dither_seed(file, 1, &status); /* a fixed seed: the same file each time */
  }
  fits_create_img(file, bitpix, naxis, naxes, &status);
  if (extname[0]) fits_update_key_str(file, "EXTNAME", (char *)(uintptr_t)extname, NULL, &status);
  for (int i = 0; i < n_cards; i++) {
    const syz_fits_card *k = &cards[i];
    if (k->type == 'T' && fits_text_is_long(k->text)) fits_write_key_longwarn(file, &status);
    if (k->type == 'T')
      fits_update_key_longstr(file, k->key, (char *)(uintptr_t)k->text, k->comment, &status);
    else if (k->type == 'I')
      fits_update_key_lng(file, k->key, k->integer, k->comment, &status);
    else if (k->type == 'L')
      fits_update_key_log(file, k->key, k->integer != 0, k->comment, &status);
    else
      fits_update_key_dbl(file, k->key, k->real, -15, k->comment, &status);
  }
  int type = bitpix == 8     ? TBYTE
             : bitpix == 16  ? TSHORT
             : bitpix == 32  ? TINT
             : bitpix == 64  ? TLONGLONG
             : bitpix == -32 ? TFLOAT
                             : TDOUBLE;
  fits_write_img(file, type, 1, pixels, (void *)(uintptr_t)data, &status);
  fits_flush_file(file, &status);
  fits_write_chksum(file, &status);
  fits_flush_file(file, &status);
  LONGLONG head = 0, start = 0, end = 0;
  fits_get_hduaddrll(file, &head, &start, &end, &status);
  SYZ_REQUIRE(!status && head >= 0 && end > head && (size_t)end <= size, SYZ_ERR_WRITE,
              "%s: image %s cannot be compressed: cfitsio status %d", o->path, extname, status);
  SYZ_TRY(put(o, (const char *)memory + head, (size_t)(end - head)));
cleanup:
  status = 0;
  if (file) fits_close_file(file, &status);
  free(memory);
  return st;
}

syz_status syz_fits_out_image(syz_fits_out *o, const char *extname, int bitpix, int naxis, const int64_t *shape,
                              const void *data, syz_fits_packing packing, const syz_fits_card *cards, int n_cards)
{
  syz_status st = SYZ_OK;
  int64_t pixels = 1;
  SYZ_REQUIRE(bitpix == 8 || bitpix == 16 || bitpix == 32 || bitpix == 64 || bitpix == -32 || bitpix == -64,
              SYZ_ERR_INTERNAL, "%s: BITPIX %d", o->path, bitpix);
  SYZ_REQUIRE(naxis >= 1 && naxis <= SYZ_FITS_AXES, SYZ_ERR_INTERNAL, "%s: %d axes", o->path, naxis);
  for (int i = 0; i < naxis; i++) {
    SYZ_REQUIRE(shape[i] >= 1 && shape[i] <= INT32_MAX && pixels <= INT64_MAX / 8 / shape[i], SYZ_ERR_INTERNAL,
                "%s: axis of %lld", o->path, (long long)shape[i]);
    pixels *= shape[i];
  }
  if (!o->has_primary) SYZ_TRY(syz_fits_out_primary(o, NULL, 0));
  if (packing == SYZ_FITS_PLAIN)
    SYZ_TRY(plain_image(o, extname, bitpix, naxis, shape, data, pixels, cards, n_cards));
  else
    SYZ_TRY(packed_image(o, extname, bitpix, naxis, shape, data, pixels, packing, cards, n_cards));
cleanup:
  return st;
}

/* ----------------------------------------------------------------- tables */

syz_status syz_fits_out_table(syz_fits_out *o, const char *extname, int64_t rows, const syz_fits_column *columns,
                              int n_columns, const syz_fits_card *cards, int n_cards)
{
  syz_status st = SYZ_OK;
  syz_fits_cards c = {NULL, 0, 0};
  unsigned char *block = NULL;
  const void **data = NULL;
  size_t bytes = 0;
  int64_t row_bytes = 0;
  if (!o->has_primary) SYZ_TRY(syz_fits_out_primary(o, NULL, 0));
  off_t at = ftello(o->file);
  SYZ_TRY(fits_cards_table(&c, extname, rows, columns, n_columns, cards, n_cards, &row_bytes));
  SYZ_TRY(fits_cards_end(&c, &bytes));
  SYZ_TRY(put(o, c.text, bytes));
  SYZ_ALLOC(data, "FITS columns", n_columns);
  for (int i = 0; i < n_columns; i++) data[i] = columns[i].data;
  int64_t step = WRITE_BLOCK / row_bytes + 1;
  SYZ_ALLOC(block, "FITS block", step * row_bytes);
  uint64_t sum = 0, done = 0;
  for (int64_t r = 0; r < rows; r += step) {
    int64_t n = rows - r < step ? rows - r : step;
    fits_pack_rows(block, columns, n_columns, row_bytes, data, r, n);
    sum = fits_sum(block, (size_t)(n * row_bytes), (size_t)(done % 4), sum);
    SYZ_TRY(put(o, block, (size_t)(n * row_bytes)));
    done += (uint64_t)(n * row_bytes);
  }
  SYZ_TRY(seal(o, &c, bytes, at, done, sum));
cleanup:
  syz_free(&data);
  syz_free(&block);
  syz_fits_cards_free(&c);
  return st;
}

syz_status syz_fits_out_finish(syz_fits_out **out)
{
  syz_status st = SYZ_OK;
  syz_fits_out *o = *out;
  if (!o->has_primary) SYZ_TRY(syz_fits_out_primary(o, NULL, 0));
  SYZ_REQUIRE(fflush(o->file) == 0, SYZ_ERR_WRITE, "%s: %s", o->temporary, strerror(errno));
  int code = fclose(o->file);
  o->file = NULL;
  SYZ_REQUIRE(code == 0, SYZ_ERR_WRITE, "%s: %s", o->temporary, strerror(errno));
  SYZ_TRY(syz_file_publish(o->temporary, o->path));
cleanup:
  if (st != SYZ_OK && o->temporary) unlink(o->temporary);
  syz_fits_out_destroy(out);
  return st;
}
