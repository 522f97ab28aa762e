/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Digests of the files that objects are made from: of their content, since pixels can change while name, size and time
 * of the last change stay the same. The files in use are divided among the ranks, and each is read once more, whole and
 * at the speed of the disk (most of it is in memory from the scan). Redshifts and catalogue rows need none: their
 * values are in the digest of a shard itself.
 */

#include "ingest.h"
#include "syzygy/files.h"

static void use(int64_t *is_used, int file)
{
  if (file != NO_FILE) is_used[file] = 1;
}

/* Rank-local: digest [n_files + 1] of this rank's share; the last is that of ingest.zero_points. */
static syz_status sum_share(const ingest *g, const int64_t *is_used, uint64_t *digest)
{
  syz_status st = SYZ_OK;
  const char *zero_points = g->options.zero_points;
  int64_t bytes;
  int turn = 0;
  for (int i = 0; i < g->n_files; i++) {
    if (!is_used[i] || turn++ % g->size != g->rank) continue;
    SYZ_TRY(syz_file_sum(g->file[i].path, 0, 1, &bytes, &digest[i]));
  }
  if (*zero_points && turn % g->size == g->rank) SYZ_TRY(syz_file_sum(zero_points, 0, 1, &bytes, &digest[g->n_files]));
cleanup:
  return st;
}

syz_status ingest_digest_files(ingest *g)
{
  syz_status st = SYZ_OK;
  const size_t n = (size_t)g->n_files + 1;
  uint64_t *digest = syz_alloc("digests of files", n, sizeof *digest);
  int64_t *is_used = syz_alloc("digests of files", n, sizeof *is_used);
  SYZ_TRY_ALL(g->world, digest && is_used ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t i = 0; i < g->n_objects; i++) {
    const ingest_object *o = &g->object[i];
    use(is_used, o->spectrum >= 0 ? ingest_spectrum_at(g, o->spectrum)->file : NO_FILE);
    use(is_used, o->candidate >= 0 ? ingest_candidate_in(g, &g->candidates, o->candidate)->file : NO_FILE);
    for (int b = 0; b < SYZ_BANDS; b++) use(is_used, o->image_file[b]);
  }
  syz_allreduce_i64(g->world, is_used, n, SYZ_MAX);
  SYZ_TRY_ALL(g->world, sum_share(g, is_used, digest));
  syz_allreduce_u64(g->world, digest, n, SYZ_SUM);
  for (int i = 0; i < g->n_files; i++) g->file[i].digest = digest[i];
  g->zero_points_digest = digest[g->n_files];
cleanup:
  syz_free(&digest);
  syz_free(&is_used);
  return st;
}
