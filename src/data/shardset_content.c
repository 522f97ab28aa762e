/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Digest of the contents of a data set's files. Files with a checksum for each dataset are identified by these
 * (syz_shardset_verify checks that they hold). Others, AstroCLIP's and those written by h5py, must be read: pixels may
 * change while name, size and even modification time stay the same. So all ranks together sum every byte, at the speed
 * of the disk, once per open set.
 */
#include "shardset.h"
#include "syzygy/files.h"

static syz_status sum_files(syz_shardset *s)
{
  syz_status st = SYZ_OK;
  const int size = syz_comm_size(s->comm), rank = syz_comm_rank(s->comm);
  uint64_t content = 0;
  for (int f = 0; f < s->files; f++) {
    int64_t bytes = 0;
    uint64_t sum = 0;
    if (!s->file[f].lacks_sums) continue;
    SYZ_TRY_ALL(s->comm, syz_file_sum(s->file[f].path, rank, size, &bytes, &sum));
    syz_allreduce_u64(s->comm, &sum, 1, SYZ_SUM);
    content = syz_checksum(&sum, sizeof sum, content);
    s->lacks_sums = true;
  }
  s->content = content;
  s->has_content = true;
cleanup:
  return st;
}

syz_status syz_shardset_content(syz_shardset *s, uint64_t *digest)
{
  syz_status st = SYZ_OK;
  if (!s->has_content) SYZ_TRY(sum_files(s));
  *digest = s->lacks_sums ? syz_checksum(&s->content, sizeof s->content, s->digest) : s->digest;
cleanup:
  return st;
}
