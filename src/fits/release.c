/* SPDX-License-Identifier: BSD-3-Clause */
/** Releases mapped pages: once read they count as this process's memory, although the kernel could reclaim them. */
/* madvise is outside POSIX, and glibc's posix_madvise does nothing for this advice. */
#define _DEFAULT_SOURCE
#include "file.h"

#include <sys/mman.h>

void syz_fits_forget(syz_fits *f, int hdu) { fits_tile_forget(&f->hdu[hdu]); }

void syz_fits_release(syz_fits *f)
{
  if (f->bytes.map.base) (void)madvise((void *)(uintptr_t)f->bytes.map.base, f->bytes.map.size, MADV_DONTNEED);
}
