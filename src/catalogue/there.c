/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A repeated `embed` has nothing to do when both files exist from the same model and data. File name and key are not
 * enough: a bit may have changed on the disk, or a copy may be incomplete. So every byte of both is checked first,
 * which takes far less time than computing them. A damaged embedding.h5 is computed again; a damaged or missing
 * embedding.fits is written again from embedding.h5.
 */
#include "there.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "syzygy/files.h"
#include "syzygy/fits.h"

static const char made_again[] = "it is made again";

/* Rank 0: refuse links in place of the output files now, not after everything is computed. */
static syz_status refuse_links(const char *folder)
{
  static const char *const name[] = {"embedding.h5", "embedding.fits", "embedding.h5.tmp", "embedding.fits.tmp"};
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
    SYZ_REQUIRE(snprintf(path, sizeof path, "%s/%s", folder, name[i]) < (int)sizeof path, SYZ_ERR_INPUT,
                "output.dir: name too long");
    SYZ_TRY(syz_refuse_link(path));
  }
cleanup:
  return st;
}

/* Rank 0: whether a file was made under this key; warns of one that cannot be opened. */
static bool is_of_key(const char *path, const char *key)
{
  syz_h5 *f = NULL;
  char *text = NULL;
  bool is_same = false;
  if (access(path, F_OK) != 0) return false;
  if (syz_h5_open(NULL, path, &f) != SYZ_OK || syz_h5_read_text(f, "", "embed_key", &text) != SYZ_OK)
    syz_warn("%s: %s", syz_error_text(), made_again);
  else
    is_same = text && strcmp(text, key) == 0;
  syz_free(&text);
  if (f) syz_h5_close(&f);
  return is_same;
}

/* Collective: all ranks together verify its checksums. */
static syz_status look_at_h5(syz_comm *c, const char *path, bool *is_whole)
{
  syz_h5 *f = NULL;
  syz_status st = syz_h5_open(c, path, &f);
  *is_whole = false;
  if (st == SYZ_OK) st = syz_h5_verify_all(f, is_whole);
  if (f) syz_h5_close(&f);
  if (st == SYZ_ERR_DATA)
    syz_warn("%s: %s", syz_error_text(), made_again);
  else if (st == SYZ_OK && !*is_whole)
    syz_info("%s has no checksum of its attributes (written by an older version): %s", path, made_again);
  return st == SYZ_ERR_DATA ? SYZ_OK : st;
}

/* Rank 0. */
static bool is_fits_whole(const char *path, const char *key, int64_t rows)
{
  syz_fits *f = NULL;
  char own[72] = "";
  int summed = 0;
  bool is_whole = false;
  if (access(path, F_OK) != 0) return false;
  syz_status st = syz_fits_open(path, true, &f);
  if (st == SYZ_OK) st = syz_fits_check(f, &summed);
  if (st == SYZ_OK) {
    const int h = syz_fits_find(f, "EMBEDDING");
    is_whole = h >= 0 && summed == syz_fits_count(f) && syz_fits_get(f, h)->rows == rows &&
               syz_fits_key_text(f, h, "EMBEDKEY", own, sizeof own) && strcmp(own, key) == 0;
  } else {
    syz_warn("%s: %s", syz_error_text(), made_again);
  }
  syz_fits_close(&f);
  return is_whole;
}

syz_status syz_embed_look(syz_comm *c, const char *folder, const char *key, int64_t rows, syz_embed_there *out)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  uint8_t has = 0;
  const bool is_first = syz_comm_rank(c) == 0;
  *out = (syz_embed_there){.has_h5 = false};
  SYZ_TRY_ALL(c, is_first ? refuse_links(folder) : SYZ_OK);
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/embedding.h5", folder) < (int)sizeof path, SYZ_ERR_INPUT,
              "output.dir: name too long");
  if (is_first) has = is_of_key(path, key);
  syz_bcast(c, &has, 1, 0);
  if (!has) goto cleanup;
  SYZ_TRY(look_at_h5(c, path, &out->has_h5));
  if (!out->has_h5) goto cleanup;
  snprintf(path, sizeof path, "%s/embedding.fits", folder);
  has = is_first && is_fits_whole(path, key, rows);
  syz_bcast(c, &has, 1, 0);
  out->has_fits = has != 0;
cleanup:
  return st;
}

/* One block: the towers' rows side by side, as partial results store them. Rank-local. */
static syz_status take_block(syz_h5 *f, const bool has_tower[SYZ_MODALITIES], int64_t width, syz_embed_part *part,
                             int64_t block, float *column, float *row)
{
  static const char *const name[SYZ_MODALITIES] = {"image_embedding", "spectrum_embedding"};
  syz_status st = SYZ_OK;
  int64_t first, n;
  const int towers = has_tower[SYZ_IMAGE] + has_tower[SYZ_SPECTRUM];
  int t = 0;
  syz_embed_part_block(part, block, &first, &n);
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    if (!has_tower[m]) continue;
    SYZ_TRY(syz_h5_read(f, name[m], SYZ_H5_F32, first, n, column));
    for (int64_t i = 0; i < n; i++)
      memcpy(row + (i * towers + t) * width, column + i * width, (size_t)width * sizeof *row);
    t++;
  }
  SYZ_TRY(syz_embed_part_put(part, block, row));
cleanup:
  return st;
}

static syz_status take_share(syz_h5 *f, const bool has_tower[SYZ_MODALITIES], int64_t width, syz_embed_part *part,
                             const int64_t *block, int64_t n)
{
  syz_status st = SYZ_OK;
  float *column = NULL, *row = NULL;
  SYZ_ALLOC(column, "embeddings", SYZ_EMBED_BLOCK * width);
  SYZ_ALLOC(row, "result rows", SYZ_EMBED_BLOCK * width * SYZ_MODALITIES);
  for (int64_t b = 0; b < n; b++) SYZ_TRY(take_block(f, has_tower, width, part, block[b], column, row));
cleanup:
  syz_free(&column);
  syz_free(&row);
  return st;
}

syz_status syz_embed_take_back(syz_comm *c, const char *folder, const bool has_tower[SYZ_MODALITIES], int64_t width,
                               syz_embed_part *part, const int64_t *missing, int64_t n_missing)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  syz_h5 *f = NULL;
  int64_t first, n;
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/embedding.h5", folder) < (int)sizeof path, SYZ_ERR_INPUT,
              "output.dir: name too long");
  SYZ_TRY(syz_h5_open(c, path, &f));
  syz_share(n_missing, syz_comm_size(c), syz_comm_rank(c), &first, &n);
  SYZ_TRY_ALL(c, take_share(f, has_tower, width, part, missing + first, n));
cleanup:
  if (f) syz_h5_close(&f);
  return st;
}
