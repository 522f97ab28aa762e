/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A driver of HDF5's virtual file layer that puts what the library writes (the description of a file: a few kB a
 * hundred datasets) into memory, page by page with a mask of the bytes written; h5_image_save then copies exactly those
 * to the file, between the rows that the ranks have written there themselves.
 *
 * Why: libhdf5 1.10.8 does not survive a failed write of its own. When H5Fclose cannot flush, the file stays half open,
 * and the process dies of SIGSEGV when the library ends inside MPI_Finalize (seen on a full tmpfs). With this driver
 * the library never meets a failure; ours is a return code.
 */
#include "image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAGE = 4096 };

typedef struct page {
  haddr_t number;
  unsigned char bytes[PAGE], is_written[PAGE / 8];
} page;

struct h5_image {
  page **page; /* sorted by number */
  size_t pages, room;
  haddr_t end, allocated;
  bool drops;      /* raw data */
  int64_t dropped; /* where the last would have been */
  bool has_lost;   /* no memory for a page: noticed when saving, so that the library need not */
};

/* What HDF5 hands back to us: its own part first. */
typedef struct driven {
  H5FD_t base;
  h5_image *image;
} driven;

static bool is_page_below(const void *at, const void *number)
{
  return (*(page *const *)at)->number < *(const haddr_t *)number;
}

/* The page list's own memory is the library's in spirit: plain malloc, not counted as ours while a file is open. */
static page *find_page(h5_image *image, haddr_t number, bool makes)
{
  const size_t low =
      (size_t)syz_lower_bound(&number, image->page, (int64_t)image->pages, sizeof *image->page, is_page_below);
  if (low < image->pages && image->page[low]->number == number) return image->page[low];
  if (!makes) return NULL;
  if (image->pages == image->room) {
    size_t room = image->room ? 2 * image->room : 16;
    page **bigger = realloc(image->page, room * sizeof *bigger);
    if (!bigger) return NULL;
    image->page = bigger;
    image->room = room;
  }
  page *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  p->number = number;
  memmove(image->page + low + 1, image->page + low, (image->pages - low) * sizeof *image->page);
  image->page[low] = p;
  image->pages++;
  return p;
}

static H5FD_t *driver_open(const char *name, unsigned flags, hid_t access, haddr_t most)
{
  h5_image *const *image = H5Pget_driver_info(access);
  driven *d = image ? calloc(1, sizeof *d) : NULL;
  (void)name;
  (void)flags;
  (void)most;
  if (!d) return NULL;
  d->image = *image;
  return &d->base;
}

static herr_t driver_close(H5FD_t *file)
{
  free(file);
  return 0;
}

static herr_t driver_query(const H5FD_t *file, unsigned long *flags)
{
  (void)file;
  if (flags) *flags = H5FD_FEAT_AGGREGATE_METADATA;
  return 0;
}

static haddr_t driver_get_eoa(const H5FD_t *file, H5FD_mem_t type)
{
  (void)type;
  return ((const driven *)file)->image->allocated;
}

static herr_t driver_set_eoa(H5FD_t *file, H5FD_mem_t type, haddr_t address)
{
  (void)type;
  ((driven *)file)->image->allocated = address;
  return 0;
}

static haddr_t driver_get_eof(const H5FD_t *file, H5FD_mem_t type)
{
  (void)type;
  return ((const driven *)file)->image->end;
}

static herr_t driver_read(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t address, size_t bytes, void *buffer)
{
  h5_image *image = ((driven *)file)->image;
  unsigned char *to = buffer;
  (void)type;
  (void)transfer;
  while (bytes) {
    size_t at = (size_t)(address % PAGE), some = PAGE - at < bytes ? PAGE - at : bytes;
    const page *p = find_page(image, address / PAGE, false);
    if (p)
      memcpy(to, p->bytes + at, some);
    else
      memset(to, 0, some);
    to += some;
    address += some;
    bytes -= some;
  }
  return 0;
}

static herr_t driver_write(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t address, size_t bytes,
                           const void *buffer)
{
  h5_image *image = ((driven *)file)->image;
  const unsigned char *from = buffer;
  (void)transfer;
  if (image->drops && type == H5FD_MEM_DRAW) {
    image->dropped = (int64_t)address;
    if (address + bytes > image->end) image->end = address + bytes;
    return 0;
  }
  while (bytes) {
    size_t at = (size_t)(address % PAGE), some = PAGE - at < bytes ? PAGE - at : bytes;
    page *p = find_page(image, address / PAGE, true);
    if (p) {
      memcpy(p->bytes + at, from, some);
      for (size_t i = at; i < at + some; i++) p->is_written[i / 8] |= (unsigned char)(1u << (i % 8));
    } else {
      image->has_lost = true;
    }
    from += some;
    address += some;
    bytes -= some;
  }
  if (address > image->end) image->end = address;
  return 0;
}

static herr_t driver_truncate(H5FD_t *file, hid_t transfer, hbool_t closing)
{
  h5_image *image = ((driven *)file)->image;
  (void)transfer;
  (void)closing;
  image->end = image->allocated;
  return 0;
}

static const H5FD_class_t driver = {
    .name = "syzygy_image",
    .maxaddr = ((haddr_t)1 << 62) - 1,
    .fc_degree = H5F_CLOSE_WEAK,
    .fapl_size = sizeof(h5_image *),
    .open = driver_open,
    .close = driver_close,
    .query = driver_query,
    .get_eoa = driver_get_eoa,
    .set_eoa = driver_set_eoa,
    .get_eof = driver_get_eof,
    .read = driver_read,
    .write = driver_write,
    .truncate = driver_truncate,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

syz_status h5_image_create(h5_image **out)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(*out, "hdf5 description", 1);
cleanup:
  return st;
}

void h5_image_destroy(h5_image **image)
{
  if (!*image) return;
  for (size_t i = 0; i < (*image)->pages; i++) free((*image)->page[i]);
  free((*image)->page);
  syz_free(image);
}

void h5_image_drop(h5_image *image, bool drops)
{
  image->drops = drops;
  if (drops) image->dropped = -1;
}

int64_t h5_image_dropped(const h5_image *image) { return image->dropped; }

int64_t h5_image_length(const h5_image *image) { return (int64_t)image->allocated; }

syz_status h5_image_attach(h5_image *image, hid_t access)
{
  syz_status st = SYZ_OK;
  hid_t id = H5FDregister(&driver); /* registering the same class again gives the same driver */
  SYZ_REQUIRE(id >= 0 && H5Pset_driver(access, id, &image) >= 0, SYZ_ERR_INTERNAL, "HDF5 does not take our driver");
cleanup:
  if (id >= 0) H5FDunregister(id); /* the access list holds it */
  return st;
}

static syz_status put(int fd, const char *path, const unsigned char *from, size_t bytes, haddr_t at)
{
  syz_status st = SYZ_OK;
  while (bytes) {
    ssize_t done = pwrite(fd, from, bytes, (off_t)at);
    if (done < 0 && errno == EINTR) continue;
    SYZ_REQUIRE(done > 0, SYZ_ERR_WRITE, "%s: cannot write the file's description: %s", path,
                done < 0 ? strerror(errno) : "nothing was written");
    from += done;
    at += (haddr_t)done;
    bytes -= (size_t)done;
  }
cleanup:
  return st;
}

syz_status h5_image_save(const h5_image *image, int fd, const char *path)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(!image->has_lost, SYZ_ERR_MEMORY, "%s: no memory for the file's description", path);
  for (size_t k = 0; k < image->pages; k++) {
    const page *p = image->page[k];
    for (size_t i = 0; i < PAGE;) {
      if (!(p->is_written[i / 8] >> (i % 8) & 1)) {
        i++;
        continue;
      }
      size_t from = i;
      while (i < PAGE && (p->is_written[i / 8] >> (i % 8) & 1)) i++;
      SYZ_TRY(put(fd, path, p->bytes + from, i - from, p->number * PAGE + from));
    }
  }
  SYZ_REQUIRE(ftruncate(fd, (off_t)image->allocated) == 0, SYZ_ERR_WRITE, "%s: cannot set the file's length: %s", path,
              strerror(errno));
cleanup:
  return st;
}
