/* SPDX-License-Identifier: BSD-3-Clause */
/** Writes this rank's bytes to their place in a file: large pieces bypass the page cache (direct.c), others use pwrite.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "file.h"

enum { WRITE_BYTES = 1 << 30 };

syz_status h5_write_at(syz_h5 *f, const char *name, int64_t at, size_t bytes, const void *data)
{
  syz_status st = SYZ_OK;
  const bool is_large = bytes >= SYZ_DIRECT_WORTH || (f->direct && syz_direct_follows(f->direct, at));
  if (is_large && h5_lane(f)) return syz_direct_write(f->direct, at, bytes, data);
  for (const char *from = data; bytes;) {
    ssize_t done = pwrite(f->fd, from, bytes < WRITE_BYTES ? bytes : WRITE_BYTES, (off_t)at);
    if (done < 0 && errno == EINTR) continue;
    SYZ_REQUIRE(done > 0, SYZ_ERR_WRITE, "%s: cannot write dataset %s at byte %lld: %s", f->path, name, (long long)at,
                done < 0 ? strerror(errno) : "nothing was written");
    from += done;
    at += done;
    bytes -= (size_t)done;
  }
cleanup:
  return st;
}
