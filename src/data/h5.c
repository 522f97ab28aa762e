/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Reading HDF5 files, also hostile ones. Each rank opens the file for itself with the serial driver: reads are then independent, and a
 * read that fails on one rank cannot leave the others waiting inside the library.
 *
 * Whatever a file claims about its sizes is compared with its length before anybody allocates by it. HDF5's own error stack is kept
 * silent; its innermost entry, which names the cause, goes into our message.
 */
#include "h5_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "h5_layout.h"
#include "h5_seal.h"

enum { LZF_FILTER = 32000, TEXT_LIMIT = 64 << 20, VISIT_LIMIT = 1000000, VISIT_DEPTH = 32, COMPRESSION_LIMIT = 4096, DIRECT_READ = 8 << 20 };

/* ------------------------------------------------------------- beginnings */

static size_t lzf_filter(unsigned flags, size_t n_parameters, const unsigned parameters[], size_t bytes, size_t *room, void **buffer)
{
  if (!(flags & H5Z_FLAG_REVERSE)) return 0; /* only unpacking */
  size_t want = n_parameters >= 3 && parameters[2] ? parameters[2] : *room; /* h5py notes the size of a chunk here */
  for (int attempt = 0; attempt < 8 && want && want <= ((size_t)1 << 32); attempt++, want *= 2) {
    void *out = malloc(want); /* HDF5 will free() it */
    if (!out) return 0;
    size_t done = syz_lzf_unpack(*buffer, bytes, out, want);
    if (done) {
      free(*buffer);
      *buffer = out;
      *room = want;
      return done;
    }
    free(out);
  }
  return 0;
}

void h5_begin(void)
{
  static bool has_begun; /* the library's state, not ours: both calls may be repeated, but need not be */
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
  if (has_begun) return;
  const H5Z_class2_t lzf = {H5Z_CLASS_T_VERS, LZF_FILTER, 0, 1, "lzf", NULL, NULL, lzf_filter};
  if (!H5Zfilter_avail(LZF_FILTER)) (void)H5Zregister(&lzf);
  has_begun = true;
}

static herr_t keep_innermost(unsigned n, const H5E_error2_t *e, void *text)
{
  if (n == 0) snprintf(text, H5_REASON, "%s", e->desc && *e->desc ? e->desc : "unknown reason");
  return 0;
}

const char *h5_reason(char text[H5_REASON])
{
  snprintf(text, H5_REASON, "unknown reason");
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, text);
  H5Eclear2(H5E_DEFAULT);
  return text;
}

char *h5_copy_text(const char *text)
{
  size_t n = strlen(text) + 1;
  char *copy = syz_alloc("name", n, 1);
  if (copy) memcpy(copy, text, n);
  return copy;
}

size_t syz_h5_type_size(syz_h5_type t)
{
  switch (t) {
  case SYZ_H5_F64:
  case SYZ_H5_I64: return 8;
  case SYZ_H5_F32:
  case SYZ_H5_I32: return 4;
  case SYZ_H5_BF16: return 2;
  case SYZ_H5_U8: return 1;
  }
  return 0;
}

const char *syz_h5_type_name(syz_h5_type t)
{
  switch (t) {
  case SYZ_H5_F64: return "float64";
  case SYZ_H5_I64: return "int64";
  case SYZ_H5_F32: return "float32";
  case SYZ_H5_I32: return "int32";
  case SYZ_H5_BF16: return "bfloat16";
  case SYZ_H5_U8: return "uint8";
  }
  return "?";
}

hid_t h5_file_type(syz_h5_type t)
{
  switch (t) {
  case SYZ_H5_F64: return H5T_IEEE_F64LE;
  case SYZ_H5_I64: return H5T_STD_I64LE;
  case SYZ_H5_F32: return H5T_IEEE_F32LE;
  case SYZ_H5_I32: return H5T_STD_I32LE;
  case SYZ_H5_U8: return H5T_STD_U8LE;
  case SYZ_H5_BF16: break;
  }
  hid_t bf16 = H5Tcopy(H5T_IEEE_F32LE); /* sign 15, exponent 7..14 with bias 127, fraction 0..6: h5py shows it as numbers */
  H5Tset_fields(bf16, 15, 7, 8, 0, 7);
  H5Tset_size(bf16, 2);
  H5Tset_ebias(bf16, 127);
  return bf16;
}

void h5_type_close(syz_h5_type t, hid_t id)
{
  if (t == SYZ_H5_BF16 && id >= 0) H5Tclose(id);
}

hid_t h5_access(void)
{
  hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  /* Files are published by rename, so nobody ever reads one that is being written: locks protect nothing, and some file systems of
   * clusters refuse them. */
  if (access >= 0) H5Pset_file_locking(access, 0, 1);
  return access;
}

/* -------------------------------------------------------------- open, close */

/* FITS by its first bytes, or packed by gzip or bzip2 under such a name. */
static bool is_fits(const char *path, const char *first)
{
  if (memcmp(first, "SIMPLE  =", 9) == 0) return true;
  bool is_packed = memcmp(first, "\x1f\x8b", 2) == 0 || memcmp(first, "BZh", 3) == 0;
  return is_packed && (strstr(path, ".fits") || strstr(path, ".fit."));
}

static syz_status open_here(const char *path, hid_t *file)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  hid_t access = h5_access();
  FILE *f = fopen(path, "rb"); /* HDF5 wraps errno in too many words */
  SYZ_REQUIRE(f, SYZ_ERR_DATA, "%s: cannot open", path);
  char first[9] = "";
  SYZ_REQUIRE(fread(first, 1, sizeof first, f) >= 1, SYZ_ERR_DATA, "%s: not a file with content", path);
  SYZ_REQUIRE(!is_fits(path, first), SYZ_ERR_DATA,
              "%s: a FITS file where HDF5 is read: `syzygy ingest` makes shards of survey files (ingest.spectra, ingest.images, ingest.catalogues), which embed and "
              "training read", path);
  *file = H5Fopen(path, H5F_ACC_RDONLY, access);
  SYZ_REQUIRE(*file >= 0, SYZ_ERR_DATA, "%s: not a readable HDF5 file: %s", path, h5_reason(reason));
cleanup:
  if (f) fclose(f);
  if (access >= 0) H5Pclose(access);
  return st;
}

syz_status h5_open_known(const char *path, syz_h5 **out)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = NULL;
  *out = NULL;
  h5_begin();
  SYZ_ALLOC(f, "hdf5 file", 1);
  f->file = -1;
  f->fd = -1;
  f->size = 1;
  f->path = h5_copy_text(path);
  SYZ_REQUIRE(f->path, SYZ_ERR_MEMORY, "%s: no memory for its name", path);
  SYZ_TRY(open_here(path, &f->file));
  *out = f;
  f = NULL;
cleanup:
  syz_h5_close(&f);
  return st;
}

syz_status syz_h5_reopen(const char *path, syz_h5 **out) { return h5_open_known(path, out); }

syz_status syz_h5_open(syz_comm *c, const char *path, syz_h5 **out)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = NULL;
  *out = NULL;
  h5_begin();
  st = !c || syz_comm_rank(c) == 0 ? h5_guard(path) : SYZ_OK; /* one look is enough for all */
  if (c) st = syz_agree(c, st);
  if (st != SYZ_OK) return syz_error_pass(st, __FILE__, __LINE__);
  st = h5_open_known(path, &f);
  if (st == SYZ_OK && (!c || syz_comm_rank(c) == 0)) st = h5_seal_check(f);
  if (c) st = syz_agree(c, st);
  if (st != SYZ_OK) {
    syz_h5_close(&f);
    return syz_error_pass(st, __FILE__, __LINE__);
  }
  f->comm = c;
  f->rank = c ? syz_comm_rank(c) : 0;
  f->size = c ? syz_comm_size(c) : 1;
  if (c) syz_bcast(c, &f->is_own, sizeof f->is_own, 0);
  if (c) syz_bcast(c, &f->is_sealed, sizeof f->is_sealed, 0);
  *out = f;
  return SYZ_OK;
}

void syz_h5_close(syz_h5 **file)
{
  syz_h5 *f = *file;
  if (!f) return;
  if (f->is_writing) {
    syz_h5_discard(file);
    return;
  }
  h5_direct_close(&f->direct);
  if (f->file >= 0) H5Fclose(f->file);
  syz_free(&f->path);
  syz_free(file);
}

const char *syz_h5_path(const syz_h5 *f) { return f->path; }

/* ------------------------------------------------------- what is in there */

bool syz_h5_has(syz_h5 *f, const char *name)
{
  char part[1024];
  size_t n = strlen(name);
  if (f->file < 0 || n == 0 || n >= sizeof part) return false;
  for (size_t i = 1; i <= n; i++) { /* H5Lexists wants every group on the way to exist */
    if (name[i] != '/' && name[i] != '\0') continue;
    memcpy(part, name, i);
    part[i] = '\0';
    if (H5Lexists(f->file, part, H5P_DEFAULT) <= 0 || H5Oexists_by_name(f->file, part, H5P_DEFAULT) <= 0) {
      H5Eclear2(H5E_DEFAULT);
      return false;
    }
  }
  return true;
}

/* A dataset open for reading: all sizes checked against the file. */
typedef struct opened {
  hid_t dataset, space, type;
  int ndim;
  int64_t shape[H5_DIMS];
  int64_t rows, row_elements;
  H5D_layout_t layout;
} opened;

static void opened_close(opened *o)
{
  if (o->type >= 0) H5Tclose(o->type);
  if (o->space >= 0) H5Sclose(o->space);
  if (o->dataset >= 0) H5Dclose(o->dataset);
  *o = (opened){.dataset = -1, .space = -1, .type = -1};
}

/* Sizes that the file claims but cannot hold are refused here, before anything is allocated by them. */
static syz_status check_storage(syz_h5 *f, const char *name, const opened *o)
{
  syz_status st = SYZ_OK;
  hsize_t file_bytes = 0;
  size_t element = H5Tget_size(o->type);
  double claimed = (double)o->rows * (double)o->row_elements * (double)element;
  SYZ_REQUIRE(claimed < 9e18, SYZ_ERR_DATA, "%s: dataset %s claims %.3g bytes", f->path, name, claimed);
  if (claimed == 0 || o->layout == H5D_VIRTUAL) return SYZ_OK;
  SYZ_REQUIRE(H5Fget_filesize(f->file, &file_bytes) >= 0, SYZ_ERR_DATA, "%s: no file size", f->path);
  hsize_t stored = H5Dget_storage_size(o->dataset);
  SYZ_REQUIRE(stored > 0, SYZ_ERR_DATA, "%s: dataset %s was declared but never written", f->path, name);
  if (o->layout == H5D_CONTIGUOUS) {
    hid_t create = H5Dget_create_plist(o->dataset);
    bool is_external = create >= 0 && H5Pget_external_count(create) > 0;
    if (create >= 0) H5Pclose(create);
    haddr_t offset = H5Dget_offset(o->dataset);
    if (is_external || offset == HADDR_UNDEF) return SYZ_OK;
    SYZ_REQUIRE(claimed <= (double)file_bytes && offset <= file_bytes && (hsize_t)claimed <= file_bytes - offset, SYZ_ERR_DATA,
                "%s: dataset %s claims %.0f bytes from byte %llu on, but the file ends at %llu", f->path, name, claimed,
                (unsigned long long)offset, (unsigned long long)file_bytes);
  } else {
    /* deflate reaches 1032 : 1; more than the limit cannot be data. */
    SYZ_REQUIRE(stored <= file_bytes && claimed <= (double)COMPRESSION_LIMIT * (double)stored, SYZ_ERR_DATA,
                "%s: dataset %s claims %.0f bytes but only %llu are stored", f->path, name, claimed, (unsigned long long)stored);
  }
cleanup:
  return st;
}

static syz_status opened_open(syz_h5 *f, const char *name, opened *o)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  hsize_t dims[H5S_MAX_RANK];
  H5O_info_t info;
  *o = (opened){.dataset = -1, .space = -1, .type = -1};
  SYZ_REQUIRE(syz_h5_has(f, name), SYZ_ERR_DATA, "%s: no dataset %s", f->path, name);
  SYZ_REQUIRE(H5Oget_info_by_name2(f->file, name, &info, H5O_INFO_BASIC, H5P_DEFAULT) >= 0, SYZ_ERR_DATA, "%s: %s is unreadable: %s",
              f->path, name, h5_reason(reason));
  SYZ_REQUIRE(info.type == H5O_TYPE_DATASET, SYZ_ERR_DATA, "%s: %s is not a dataset", f->path, name);
  o->dataset = H5Dopen2(f->file, name, H5P_DEFAULT);
  SYZ_REQUIRE(o->dataset >= 0, SYZ_ERR_DATA, "%s: dataset %s cannot be opened: %s", f->path, name, h5_reason(reason));
  o->space = H5Dget_space(o->dataset);
  o->type = H5Dget_type(o->dataset);
  SYZ_REQUIRE(o->space >= 0 && o->type >= 0, SYZ_ERR_DATA, "%s: dataset %s is damaged: %s", f->path, name, h5_reason(reason));
  hid_t create = H5Dget_create_plist(o->dataset);
  o->layout = create >= 0 ? H5Pget_layout(create) : H5D_LAYOUT_ERROR;
  if (create >= 0) H5Pclose(create);
  SYZ_REQUIRE(o->layout != H5D_LAYOUT_ERROR, SYZ_ERR_DATA, "%s: dataset %s is damaged: %s", f->path, name, h5_reason(reason));
  int ndim = H5Sget_simple_extent_ndims(o->space);
  SYZ_REQUIRE(ndim >= 0 && ndim <= H5_DIMS, SYZ_ERR_DATA, "%s: dataset %s has %d axes, at most %d are read", f->path, name, ndim, H5_DIMS);
  SYZ_REQUIRE(H5Sget_simple_extent_type(o->space) != H5S_NULL, SYZ_ERR_DATA, "%s: dataset %s holds nothing", f->path, name);
  H5Sget_simple_extent_dims(o->space, dims, NULL);
  o->ndim = ndim;
  o->rows = ndim ? (int64_t)dims[0] : 1;
  double elements = 1;
  o->row_elements = 1;
  for (int i = 0; i < ndim; i++) {
    elements *= (double)dims[i];
    SYZ_REQUIRE(dims[i] < ((hsize_t)1 << 60) && elements < 1e18, SYZ_ERR_DATA, "%s: dataset %s claims axis %d of %llu", f->path, name, i,
                (unsigned long long)dims[i]);
    o->shape[i] = (int64_t)dims[i];
    if (i) o->row_elements *= (int64_t)dims[i];
  }
  SYZ_TRY(check_storage(f, name, o));
cleanup:
  if (st != SYZ_OK) opened_close(o);
  H5Eclear2(H5E_DEFAULT);
  return st;
}

syz_status syz_h5_shape(syz_h5 *f, const char *name, int *ndim, int64_t shape[8])
{
  syz_status st = SYZ_OK;
  opened o;
  SYZ_TRY(opened_open(f, name, &o));
  *ndim = o.ndim;
  memcpy(shape, o.shape, sizeof o.shape);
  opened_close(&o);
cleanup:
  return st;
}

static char class_of(hid_t type, int *bits)
{
  *bits = (int)(H5Tget_size(type) * 8);
  switch (H5Tget_class(type)) {
  case H5T_FLOAT: return 'f';
  case H5T_INTEGER: return H5Tget_sign(type) == H5T_SGN_NONE ? 'u' : 'i';
  case H5T_ENUM: return 'b';
  case H5T_STRING: return 's';
  default: return '?';
  }
}

syz_status syz_h5_class(syz_h5 *f, const char *name, char *kind, int *bits)
{
  syz_status st = SYZ_OK;
  opened o;
  SYZ_TRY(opened_open(f, name, &o));
  *kind = class_of(o.type, bits);
  opened_close(&o);
cleanup:
  return st;
}

/* See syz_h5_offset. */
static int64_t plain_offset(const opened *o, syz_h5_type type)
{
  int64_t offset = -1;
  hid_t want = h5_file_type(type);
  hid_t create = H5Dget_create_plist(o->dataset);
  if (o->layout == H5D_CONTIGUOUS && create >= 0 && H5Pget_external_count(create) == 0 && H5Pget_nfilters(create) == 0 &&
      H5Tequal(o->type, want) > 0) {
    haddr_t at = H5Dget_offset(o->dataset);
    if (at != HADDR_UNDEF && at < ((haddr_t)1 << 62)) offset = (int64_t)at;
  }
  if (create >= 0) H5Pclose(create);
  h5_type_close(type, want);
  return offset;
}

int64_t syz_h5_offset(syz_h5 *f, const char *name, syz_h5_type type)
{
  opened o;
  if (opened_open(f, name, &o) != SYZ_OK) return -1;
  const int64_t offset = plain_offset(&o, type);
  opened_close(&o);
  H5Eclear2(H5E_DEFAULT);
  return offset;
}

/* ------------------------------------------------------------------- data */

/* Whole numbers that do not fit must not be clipped in silence: a cut identifier is another object's. */
static H5T_conv_ret_t refuse_overflow(H5T_conv_except_t what, hid_t from, hid_t to, void *a, void *b, void *context)
{
  (void)from;
  (void)a;
  (void)b;
  (void)context;
  bool is_range = what == H5T_CONV_EXCEPT_RANGE_HI || what == H5T_CONV_EXCEPT_RANGE_LOW;
  return is_range && H5Tget_class(to) == H5T_INTEGER ? H5T_CONV_ABORT : H5T_CONV_UNHANDLED;
}

static syz_status select_rows(const opened *o, int64_t first, int64_t n, hid_t *memory)
{
  hsize_t start[H5_DIMS] = {0}, count[H5_DIMS];
  for (int i = 0; i < o->ndim; i++) count[i] = (hsize_t)o->shape[i];
  if (o->ndim) {
    start[0] = (hsize_t)first;
    count[0] = (hsize_t)n;
    if (H5Sselect_hyperslab(o->space, H5S_SELECT_SET, start, NULL, count, NULL) < 0) return SYZ_ERR_DATA;
  }
  *memory = o->ndim ? H5Screate_simple(o->ndim, count, NULL) : H5Screate(H5S_SCALAR);
  return *memory >= 0 ? SYZ_OK : SYZ_ERR_DATA;
}

/* Many rows that lie in the file as they are wanted, and not in the page cache: past it. *is_read = false: not so, read by HDF5. */
static syz_status read_direct(syz_h5 *f, const opened *o, const char *name, syz_h5_type type, int64_t first, int64_t n, void *data, bool *is_read)
{
  syz_status st = SYZ_OK;
  const int64_t row_bytes = o->row_elements * (int64_t)syz_h5_type_size(type), bytes = n * row_bytes;
  const int64_t offset = bytes >= DIRECT_READ ? plain_offset(o, type) : -1;
  *is_read = false;
  H5Eclear2(H5E_DEFAULT);
  if (offset < 0 || !h5_lane(f)) return st;
  const int64_t at = offset + first * row_bytes;
  if (h5_direct_is_cached(f->direct, at) && h5_direct_is_cached(f->direct, at + bytes / 2) && h5_direct_is_cached(f->direct, at + bytes - 1)) return st;
  SYZ_REQUIRE(!syz_fault("h5_read"), SYZ_ERR_DATA, "%s: dataset %s: injected failure", f->path, name);
  SYZ_TRY(h5_direct_read(f->direct, at, (size_t)bytes, data));
  *is_read = true;
cleanup:
  return st;
}

syz_status syz_h5_read(syz_h5 *f, const char *name, syz_h5_type type, int64_t first, int64_t n, void *data)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  opened o = {.dataset = -1, .space = -1, .type = -1};
  hid_t memory = -1, transfer = -1, want = -1;
  bool is_read = false;
  SYZ_TRY(opened_open(f, name, &o));
  SYZ_REQUIRE(first >= 0 && n >= 0 && first <= o.rows && n <= o.rows - first, SYZ_ERR_DATA, "%s: dataset %s has %lld rows, %lld .. %lld are wanted",
              f->path, name, (long long)o.rows, (long long)first, (long long)(first + n));
  if (n == 0 || o.row_elements == 0) goto cleanup;
  want = h5_file_type(type); /* little-endian is this machine's order: x86-64 */
  int bits;
  char kind = class_of(o.type, &bits);
  bool is_float = type == SYZ_H5_F32 || type == SYZ_H5_F64 || type == SYZ_H5_BF16;
  SYZ_REQUIRE(kind == 'f' || kind == 'i' || kind == 'u' || kind == 'b', SYZ_ERR_DATA, "%s: dataset %s does not hold numbers (%s wanted)",
              f->path, name, syz_h5_type_name(type));
  SYZ_REQUIRE(is_float || kind != 'f', SYZ_ERR_DATA, "%s: dataset %s holds float%d where %s is wanted: whole numbers would lose digits",
              f->path, name, bits, syz_h5_type_name(type));
  SYZ_TRY(read_direct(f, &o, name, type, first, n, data, &is_read));
  if (is_read) goto cleanup;
  transfer = H5Pcreate(H5P_DATASET_XFER);
  SYZ_REQUIRE(transfer >= 0 && H5Pset_type_conv_cb(transfer, refuse_overflow, NULL) >= 0, SYZ_ERR_INTERNAL, "HDF5: %s", h5_reason(reason));
  SYZ_REQUIRE(select_rows(&o, first, n, &memory) == SYZ_OK, SYZ_ERR_DATA, "%s: dataset %s: %s", f->path, name, h5_reason(reason));
  SYZ_REQUIRE(!syz_fault("h5_read") && H5Dread(o.dataset, want, memory, o.space, transfer, data) >= 0, SYZ_ERR_DATA,
              "%s: dataset %s, rows %lld .. %lld cannot be read as %s: %s", f->path, name, (long long)first, (long long)(first + n - 1),
              syz_h5_type_name(type), h5_reason(reason));
cleanup:
  if (memory >= 0) H5Sclose(memory);
  if (transfer >= 0) H5Pclose(transfer);
  h5_type_close(type, want);
  opened_close(&o);
  H5Eclear2(H5E_DEFAULT);
  return st;
}

static void put_text(char *to, size_t room, const char *from, size_t n)
{
  if (n >= room) n = room - 1;
  memcpy(to, from, n);
  to[n] = '\0';
  while (n && (to[n - 1] == ' ' || to[n - 1] == '\0')) to[--n] = '\0';
}

static size_t text_length(const char *text, size_t room)
{
  const char *end = memchr(text, '\0', room);
  return end ? (size_t)(end - text) : room;
}

syz_status syz_h5_read_strings(syz_h5 *f, const char *name, int64_t first, int64_t n, size_t room, char *text)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  opened o = {.dataset = -1, .space = -1, .type = -1};
  hid_t memory = -1;
  char *fixed = NULL;
  char **variable = NULL;
  bool is_read = false;
  SYZ_TRY(opened_open(f, name, &o));
  SYZ_REQUIRE(H5Tget_class(o.type) == H5T_STRING, SYZ_ERR_DATA, "%s: dataset %s does not hold text", f->path, name);
  SYZ_REQUIRE(o.ndim >= 1 && first >= 0 && n >= 0 && first <= o.rows && n <= o.rows - first, SYZ_ERR_DATA,
              "%s: dataset %s has %lld rows; rows %lld .. %lld are wanted", f->path, name, (long long)o.rows, (long long)first,
              (long long)(first + n));
  int64_t texts = n * o.row_elements;
  if (texts == 0) goto cleanup;
  SYZ_REQUIRE(select_rows(&o, first, n, &memory) == SYZ_OK, SYZ_ERR_DATA, "%s: dataset %s: %s", f->path, name, h5_reason(reason));
  if (H5Tis_variable_str(o.type) > 0) {
    SYZ_ALLOC(variable, "strings", texts);
    is_read = H5Dread(o.dataset, o.type, memory, o.space, H5P_DEFAULT, variable) >= 0;
    SYZ_REQUIRE(is_read, SYZ_ERR_DATA, "%s: dataset %s cannot be read: %s", f->path, name, h5_reason(reason));
    for (int64_t i = 0; i < texts; i++)
      put_text(text + (size_t)i * room, room, variable[i] ? variable[i] : "", variable[i] ? strlen(variable[i]) : 0);
  } else {
    size_t width = H5Tget_size(o.type);
    SYZ_REQUIRE(width > 0 && width < TEXT_LIMIT, SYZ_ERR_DATA, "%s: dataset %s holds texts of %zu bytes", f->path, name, width);
    fixed = syz_alloc("strings", (size_t)texts, width);
    SYZ_REQUIRE(fixed, SYZ_ERR_MEMORY, "%s: dataset %s: no memory for its text", f->path, name);
    SYZ_REQUIRE(H5Dread(o.dataset, o.type, memory, o.space, H5P_DEFAULT, fixed) >= 0, SYZ_ERR_DATA, "%s: dataset %s cannot be read: %s",
                f->path, name, h5_reason(reason));
    for (int64_t i = 0; i < texts; i++) {
      const char *from = fixed + (size_t)i * width;
      put_text(text + (size_t)i * room, room, from, text_length(from, width));
    }
  }
cleanup:
  if (is_read) H5Dvlen_reclaim(o.type, memory, H5P_DEFAULT, variable);
  if (memory >= 0) H5Sclose(memory);
  syz_free(&variable);
  syz_free(&fixed);
  opened_close(&o);
  H5Eclear2(H5E_DEFAULT);
  return st;
}

/* ------------------------------------------------------------- attributes */

static hid_t open_attribute(syz_h5 *f, const char *object, const char *attribute)
{
  const char *at = *object ? object : ".";
  if (f->file < 0 || (*object && !syz_h5_has(f, object))) return -1;
  if (H5Aexists_by_name(f->file, at, attribute, H5P_DEFAULT) <= 0) return -1;
  return H5Aopen_by_name(f->file, at, attribute, H5P_DEFAULT, H5P_DEFAULT);
}

syz_status syz_h5_read_text(syz_h5 *f, const char *object, const char *attribute, char **text)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  hid_t a = -1, type = -1, space = -1;
  char *value = NULL;
  *text = NULL;
  a = open_attribute(f, object, attribute);
  if (a < 0) goto cleanup;
  type = H5Aget_type(a);
  space = H5Aget_space(a);
  if (type < 0 || space < 0 || H5Tget_class(type) != H5T_STRING || H5Sget_simple_extent_npoints(space) != 1) goto cleanup;
  if (H5Tis_variable_str(type) > 0) {
    char *from = NULL;
    SYZ_REQUIRE(H5Aread(a, type, &from) >= 0, SYZ_ERR_DATA, "%s: attribute %s cannot be read: %s", f->path, attribute, h5_reason(reason));
    if (from) value = strlen(from) < TEXT_LIMIT ? h5_copy_text(from) : NULL;
    bool is_missing = from && !value;
    if (from) H5free_memory(from);
    SYZ_REQUIRE(!is_missing, SYZ_ERR_MEMORY, "%s: attribute %s: no memory", f->path, attribute);
  } else {
    size_t width = H5Tget_size(type);
    SYZ_REQUIRE(width > 0 && width < TEXT_LIMIT, SYZ_ERR_DATA, "%s: attribute %s claims %zu bytes", f->path, attribute, width);
    SYZ_ALLOC(value, "attribute", width + 1);
    SYZ_REQUIRE(H5Aread(a, type, value) >= 0, SYZ_ERR_DATA, "%s: attribute %s cannot be read: %s", f->path, attribute, h5_reason(reason));
    value[text_length(value, width)] = '\0';
  }
  *text = value;
  value = NULL;
cleanup:
  syz_free(&value);
  if (space >= 0) H5Sclose(space);
  if (type >= 0) H5Tclose(type);
  if (a >= 0) H5Aclose(a);
  H5Eclear2(H5E_DEFAULT);
  return st;
}

syz_status syz_h5_read_number(syz_h5 *f, const char *object, const char *attribute, double *value, bool *found)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  hid_t type = -1, space = -1, a = open_attribute(f, object, attribute);
  *found = false;
  if (a < 0) goto cleanup;
  type = H5Aget_type(a);
  space = H5Aget_space(a);
  if (type < 0 || space < 0 || H5Sget_simple_extent_npoints(space) != 1) goto cleanup;
  if (H5Tget_class(type) != H5T_INTEGER && H5Tget_class(type) != H5T_FLOAT) goto cleanup;
  SYZ_REQUIRE(H5Aread(a, H5T_NATIVE_DOUBLE, value) >= 0, SYZ_ERR_DATA, "%s: attribute %s cannot be read: %s", f->path, attribute,
              h5_reason(reason));
  *found = true;
cleanup:
  if (space >= 0) H5Sclose(space);
  if (type >= 0) H5Tclose(type);
  if (a >= 0) H5Aclose(a);
  H5Eclear2(H5E_DEFAULT);
  return st;
}

/* ------------------------------------------------------------------ visit */

typedef struct walk {
  syz_h5 *f;
  char **name;
  int64_t n, room, seen;
  int depth;
  syz_status st;
  char at[1024]; /* path of the group being walked, relative to the first, "" or ending in '/' */
  const char *root;
} walk;

static syz_status walk_keep(walk *w, const char *name)
{
  syz_status st = SYZ_OK;
  char **bigger = NULL;
  if (w->n == w->room) {
    int64_t room = w->room ? 2 * w->room : 64;
    SYZ_ALLOC(bigger, "dataset names", room);
    if (w->n) memcpy(bigger, w->name, (size_t)w->n * sizeof *bigger);
    syz_free(&w->name);
    w->name = bigger;
    w->room = room;
  }
  w->name[w->n] = h5_copy_text(name);
  SYZ_REQUIRE(w->name[w->n], SYZ_ERR_MEMORY, "no memory for the names of datasets");
  w->n++;
cleanup:
  return st;
}

static herr_t walk_link(hid_t group, const char *name, const H5L_info_t *link, void *context)
{
  walk *w = context;
  syz_status st = SYZ_OK;
  H5O_info_t info;
  size_t length = strlen(w->at), more = strlen(name);
  hid_t below = -1;
  if (link->type != H5L_TYPE_HARD) return 0; /* soft and external links may dangle or lead round in circles */
  SYZ_REQUIRE(++w->seen <= VISIT_LIMIT, SYZ_ERR_DATA, "%s: more than %d objects below %s", w->f->path, VISIT_LIMIT, w->root);
  SYZ_REQUIRE(length + more + 2 < sizeof w->at && w->depth < VISIT_DEPTH, SYZ_ERR_DATA, "%s: groups too deep at %s%s", w->f->path, w->at, name);
  SYZ_REQUIRE(H5Oget_info_by_name2(group, name, &info, H5O_INFO_BASIC, H5P_DEFAULT) >= 0, SYZ_ERR_DATA, "%s: object %s%s is damaged",
              w->f->path, w->at, name);
  memcpy(w->at + length, name, more + 1);
  if (info.type == H5O_TYPE_DATASET) {
    SYZ_TRY(walk_keep(w, w->at));
  } else if (info.type == H5O_TYPE_GROUP) {
    below = H5Gopen2(group, name, H5P_DEFAULT);
    SYZ_REQUIRE(below >= 0, SYZ_ERR_DATA, "%s: group %s is damaged", w->f->path, w->at);
    memcpy(w->at + length + more, "/", 2);
    w->depth++;
    herr_t rc = H5Literate(below, H5_INDEX_NAME, H5_ITER_INC, NULL, walk_link, w);
    w->depth--;
    if (w->st != SYZ_OK) st = w->st; /* its message stands */
    else SYZ_REQUIRE(rc >= 0, SYZ_ERR_DATA, "%s: group %s is damaged", w->f->path, w->at);
  }
cleanup:
  if (below >= 0) H5Gclose(below);
  w->at[length] = '\0';
  w->st = st;
  return st == SYZ_OK ? 0 : -1;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

syz_status syz_h5_visit(syz_h5 *f, const char *group, syz_status (*visit)(void *context, const char *name), void *context)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  walk w = {.f = f, .root = *group ? group : "/"};
  hid_t at = -1;
  if (*group && strcmp(group, "/") != 0 && !syz_h5_has(f, group)) return SYZ_OK; /* an absent group holds nothing */
  at = H5Gopen2(f->file, *group ? group : "/", H5P_DEFAULT);
  SYZ_REQUIRE(at >= 0, SYZ_ERR_DATA, "%s: %s is not a readable group: %s", f->path, w.root, h5_reason(reason));
  herr_t rc = H5Literate(at, H5_INDEX_NAME, H5_ITER_INC, NULL, walk_link, &w);
  SYZ_TRY(w.st);
  SYZ_REQUIRE(rc >= 0, SYZ_ERR_DATA, "%s: group %s is damaged: %s", f->path, w.root, h5_reason(reason));
  if (w.n) qsort(w.name, (size_t)w.n, sizeof *w.name, by_name);
  for (int64_t i = 0; i < w.n; i++) SYZ_TRY(visit(context, w.name[i]));
cleanup:
  if (at >= 0) H5Gclose(at);
  for (int64_t i = 0; i < w.n; i++) syz_free(&w.name[i]);
  syz_free(&w.name);
  H5Eclear2(H5E_DEFAULT);
  return st;
}

/* ----------------------------------------------------------------- verify */

static bool own_type(hid_t type, syz_h5_type *t)
{
  const syz_h5_type all[] = {SYZ_H5_F32, SYZ_H5_F64, SYZ_H5_I64, SYZ_H5_I32, SYZ_H5_U8, SYZ_H5_BF16};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    hid_t id = h5_file_type(all[i]);
    bool is_equal = H5Tequal(type, id) > 0;
    h5_type_close(all[i], id);
    *t = all[i];
    if (is_equal) return true;
  }
  return false;
}

syz_status syz_h5_verify(syz_h5 *f, const char *name, bool *has)
{
  syz_status st = SYZ_OK;
  opened o = {.dataset = -1, .space = -1, .type = -1};
  char *stored = NULL, found[17];
  unsigned char *block = NULL;
  syz_h5_type type = SYZ_H5_U8;
  uint64_t sum = 0;
  *has = false;
  SYZ_TRY(opened_open(f, name, &o));
  SYZ_TRY(syz_h5_read_text(f, name, "checksum", &stored));
  if (!stored) goto cleanup;
  *has = true;
  SYZ_REQUIRE(own_type(o.type, &type), SYZ_ERR_DATA, "%s: dataset %s has a checksum but is of none of our types", f->path, name);
  size_t row_bytes = (size_t)o.row_elements * syz_h5_type_size(type);
  int64_t step = row_bytes ? (int64_t)((16u << 20) / row_bytes) : o.rows;
  if (step < 1) step = 1;
  if (step > o.rows) step = o.rows;
  if (row_bytes) {
    block = syz_alloc("checksum block", (size_t)step, row_bytes);
    SYZ_REQUIRE(block || !step, SYZ_ERR_MEMORY, "%s: dataset %s: no memory to verify it", f->path, name);
  }
  for (int64_t first = 0; row_bytes && first < o.rows; first += step) {
    int64_t n = o.rows - first < step ? o.rows - first : step;
    SYZ_TRY(syz_h5_read(f, name, type, first, n, block));
    sum += syz_checksum_rows(block, n, row_bytes, first);
  }
  snprintf(found, sizeof found, "%016llx", (unsigned long long)sum);
  SYZ_REQUIRE(strcmp(found, stored) == 0, SYZ_ERR_DATA, "%s: dataset %s is damaged: its checksum is %s, the file says %s", f->path, name, found,
              stored);
cleanup:
  syz_free(&block);
  syz_free(&stored);
  opened_close(&o);
  return st;
}
