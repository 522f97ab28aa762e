/* SPDX-License-Identifier: BSD-3-Clause */
/** The digest of a file's content: a sum of hashes of its blocks, which does not depend on which rank reads which
 * block. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "syzygy/files.h"

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
  SYZ_REQUIRE(S_ISREG(about.st_mode), SYZ_ERR_DATA, "%s: not a regular file", path);
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
