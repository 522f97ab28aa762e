/* SPDX-License-Identifier: BSD-3-Clause */
/** Closes files: one that is read, one that is discarded, and the memory of one that is published. */
#include <unistd.h>

#include "chunks.h"
#include "mpio.h"

void h5_free_written(syz_h5 **file)
{
  syz_h5 *f = *file;
  for (int i = 0; i < f->columns; i++) {
    syz_free(&f->column[i].name);
    h5_chunks_destroy(&f->column[i].chunks);
  }
  syz_direct_close(&f->direct);
  h5_image_destroy(&f->image);
  syz_free(&f->column);
  syz_free(&f->path);
  syz_free(&f->temporary);
  syz_free(file);
}

/* Written, but not to be published. */
static void discard(syz_h5 **file)
{
  syz_h5 *f = *file;
  (void)h5_mpio_close(f); /* nothing in it needs to reach the disk */
  if (f->file >= 0) H5Fclose(f->file);
  H5Eclear2(H5E_DEFAULT);
  syz_direct_close(&f->direct); /* before the file goes */
  if (f->rank == 0 && f->fd >= 0) unlink(f->temporary);
  if (f->fd >= 0) close(f->fd);
  h5_free_written(file);
}

/* Read. */
static void close_read(syz_h5 **file)
{
  syz_h5 *f = *file;
  syz_direct_close(&f->direct);
  h5_mpio_reader_close(&f->reader);
  if (f->line >= 0) close(f->line); /* the reader ends */
  if (f->fd >= 0) close(f->fd);
  for (int i = 0; i < f->knowns; i++) syz_free(&f->known[i].name);
  syz_free(&f->known);
  syz_free(&f->path);
  syz_free(file);
}

void syz_h5_close(syz_h5 **file)
{
  if (!*file) return;
  if ((*file)->is_writing)
    discard(file);
  else
    close_read(file);
}
