/* SPDX-License-Identifier: BSD-3-Clause */
/** Checksums: XXH3 of bytes, and sums of hashes of rows or of a file's blocks that do not depend on who holds or reads
 * which. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "syzygy/base.h"

uint64_t syz_checksum(const void *bytes, size_t n, uint64_t seed) { return XXH3_64bits_withSeed(bytes, n, seed); }

uint64_t syz_checksum_rows(const void *rows, int64_t n, size_t row_bytes, int64_t first_row)
{
  uint64_t sum = 0;
  const unsigned char *row = rows;
  for (int64_t i = 0; i < n; i++)
    sum += XXH3_64bits_withSeed(row + (size_t)i * row_bytes, row_bytes, (uint64_t)(first_row + i) + 1);
  return sum;
}

syz_status syz_file_sum(const char *path, int part, int parts, int64_t *bytes, uint64_t *sum)
{
  enum { BLOCK = 1 << 20 };
  syz_status st = SYZ_OK;
  unsigned char *block = NULL;
  struct stat about;
  *bytes = 0;
  *sum = 0;
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  SYZ_REQUIRE(fd >= 0 && fstat(fd, &about) == 0, SYZ_ERR_DATA, "%s: %s", path, strerror(errno));
  SYZ_REQUIRE(S_ISREG(about.st_mode), SYZ_ERR_DATA, "%s: not a file", path);
  *bytes = (int64_t)about.st_size;
  SYZ_ALLOC(block, "checksum block", BLOCK);
  (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  const int64_t blocks = (*bytes + BLOCK - 1) / BLOCK, each = blocks / parts, more = blocks % parts;
  const int64_t first = part * each + (part < more ? part : more), last = first + each + (part < more);
  for (int64_t b = first; b < last; b++) {
    const size_t want = *bytes - b * BLOCK < BLOCK ? (size_t)(*bytes - b * BLOCK) : BLOCK;
    size_t got = 0;
    while (got < want) {
      const ssize_t n = pread(fd, block + got, want - got, (off_t)(b * BLOCK + (int64_t)got));
      if (n < 0 && errno == EINTR) continue;
      SYZ_REQUIRE(n > 0, SYZ_ERR_DATA, "%s: cannot read byte %lld: %s", path, (long long)(b * BLOCK + (int64_t)got),
                  n ? strerror(errno) : "the file ends early");
      got += (size_t)n;
    }
    *sum += syz_checksum(block, want, (uint64_t)b + 1);
  }
cleanup:
  if (fd >= 0) close(fd);
  syz_free(&block);
  return st;
}

uint64_t syz_sum_of_bits(const float *x, int64_t n)
{
  enum { LANES = 16 };
  uint64_t sum[LANES], word, all = 0;
  int64_t i = 0;
  for (int k = 0; k < LANES; k++) sum[k] = 0;
  for (; i + 2 * LANES <= n; i += 2 * LANES)
    for (int k = 0; k < LANES; k++) {
      memcpy(&word, x + i + 2 * k, sizeof word);
      sum[k] += word;
    }
  for (; i < n; i += 2) {
    word = 0;
    memcpy(&word, x + i, i + 1 < n ? sizeof word : sizeof *x);
    all += word;
  }
  for (int k = 0; k < LANES; k++) all += sum[k];
  return all;
}
