/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Reading with libhdf5, in a separate process (serve.c). Sizes that a file claims are compared with its length before
 * memory is allocated for them; where the library allocates by itself, for texts of variable length, the process may
 * use no more memory than valid texts need. HDF5's own error stack is not printed; its innermost entry, which names the
 * cause, goes into our message.
 *
 * References to other files (external links, external storage, virtual datasets) are refused by name, unless they stay
 * below the folder that the user allows: a file from outside must not choose which files of this machine are read.
 */
#include "here.h"

#include <stdio.h>
#include <string.h>

#include "file.h"
#include "syzygy/files.h"

enum { COMPRESSION_LIMIT = 4096, CHUNK_CACHE = 16 << 20 };
enum {
  CHUNKS = 4,           /**< packed, unpacked into room that doubles, shuffled */
  CHUNK_NOTE = 8 << 10, /**< bytes that the library keeps of each chunk while it reads: 6.3 kB were measured */
  MOST_CHUNKS = 4096,   /**< that are read at a time */
  VIEW_NOTE = 160,      /**< bytes of memory for each byte with which a virtual dataset names its sources */
  VIEW_WORK = 64 << 20, /**< bytes that one read of a virtual dataset may unpack: its sources' chunks are not known */
  VIEW_BYTES = 1 << 20  /**< most bytes of a file that can be such names, when it may not lead to others */
};
static const double chunk_limit = 1 << 30; /* bytes, unpacked */

typedef struct h5_kept {
  char *name;
  hid_t dataset, space, type;
  H5D_layout_t layout;
  h5_facts facts;
  int axes;           /* of the dataset; its members may have more */
  const char *member; /* within `name`, when only this one of the records is wanted; NULL: all there is */
  hid_t element;      /* type of one of its items; -1 */
  int64_t chunk_rows; /* 0: not in chunks */
  double chunk_bytes;
  bool is_external; /* stored in other files */
  int64_t used;
} h5_kept;

void h5_here_limit(h5_here *h, double more)
{
  enum {
    COPIES = 3,
    OTHER = 64 << 20
  }; /* of a text in the library: packed with others, converted, given out; its cache of what describes data */
  const double text = h->file_bytes < H5_TEXT_LIMIT ? h->file_bytes : H5_TEXT_LIMIT,
               bytes = COPIES * text + OTHER + more;
  const bool is_ours = bytes < (double)h->all_memory && syz_child_limit((size_t)bytes);
  h->memory = is_ours ? (size_t)bytes : h->all_memory;
  h->is_tight = !is_ours && h->is_all_tight;
}

void h5_here_limit_facts(h5_here *h)
{
  if (*h->only.root) return; /* it may lead to files of any size */
  h5_here_limit(h, VIEW_NOTE * (h->file_bytes < VIEW_BYTES ? h->file_bytes : VIEW_BYTES));
}

void h5_here_unlimit(h5_here *h)
{
  (void)syz_child_limit(0);
  h->memory = h->all_memory;
  h->is_tight = h->is_all_tight;
}

syz_status h5_here_open(h5_here *h)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  h5_begin();
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  SYZ_ALLOC(h->kept, "open datasets", H5_KEPT);
  SYZ_REQUIRE(access >= 0, SYZ_ERR_INTERNAL, "HDF5: %s", h5_reason(reason));
  SYZ_TRY(h5_only_attach(&h->only, access));
  h->file = H5Fopen(h->only.path, H5F_ACC_RDONLY, access);
  SYZ_REQUIRE(h->file >= 0, h5_here_why(h, reason), "%s: not a readable HDF5 file: %s", h->path, reason);
cleanup:
  if (access >= 0) H5Pclose(access);
  return st;
}

/* ------------------------------------------------------- what is in there */

static void forget(h5_kept *o)
{
  if (o->name && o->type >= 0) H5Tclose(o->type);
  if (o->name && o->member && o->element >= 0) H5Tclose(o->element);
  if (o->name && o->space >= 0) H5Sclose(o->space);
  if (o->name && o->dataset >= 0) H5Dclose(o->dataset);
  syz_free(&o->name);
  *o = (h5_kept){.dataset = -1, .space = -1, .type = -1, .element = -1};
}

/* Raw data in other files: each of them must be one that is allowed. */
static syz_status check_sources(h5_here *h, const char *name, h5_kept *o, hid_t create)
{
  syz_status st = SYZ_OK;
  char source[PATH_MAX], real[PATH_MAX], reason[H5_REASON];
  const int external = H5Pget_external_count(create);
  size_t sources = 0;
  o->is_external = external > 0;
  for (int i = 0; i < external; i++) {
    off_t at;
    hsize_t bytes;
    source[0] = source[sizeof source - 1] = '\0';
    SYZ_REQUIRE(H5Pget_external(create, (unsigned)i, sizeof source - 1, source, &at, &bytes) >= 0,
                h5_here_why(h, reason), "%s: dataset %s is damaged: %s", h->path, name, reason);
    SYZ_REQUIRE(h5_only_allows(&h->only, source, real), SYZ_ERR_DATA, "%s: dataset %s is stored in the file %s",
                h->path, name, h->only.refused);
  }
  if (o->layout != H5D_VIRTUAL) return SYZ_OK;
  SYZ_REQUIRE(H5Pget_virtual_count(create, &sources) >= 0, h5_here_why(h, reason), "%s: dataset %s is damaged: %s",
              h->path, name, reason);
  for (size_t i = 0; i < sources; i++) {
    source[0] = '\0';
    SYZ_REQUIRE(H5Pget_virtual_filename(create, i, source, sizeof source) >= 0, h5_here_why(h, reason),
                "%s: dataset %s is damaged: %s", h->path, name, reason);
    SYZ_REQUIRE(strcmp(source, ".") == 0 || h5_only_allows(&h->only, source, real), SYZ_ERR_DATA,
                "%s: dataset %s is a view of the file %s", h->path, name, h->only.refused);
  }
cleanup:
  h->only.refused[0] = '\0';
  return st;
}

/* The length of the file that holds a dataset; *is_linked: another one than h->file, to which a link has led. */
static syz_status holding_file(h5_here *h, const char *name, const h5_kept *o, hsize_t *bytes, bool *is_linked)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  H5O_info_t mine, its;
  const hid_t file = H5Iget_file_id(o->dataset);
  SYZ_REQUIRE(file >= 0 && H5Fget_filesize(file, bytes) >= 0 && H5Oget_info2(h->file, &mine, H5O_INFO_BASIC) >= 0 &&
                  H5Oget_info2(o->dataset, &its, H5O_INFO_BASIC) >= 0,
              h5_here_why(h, reason), "%s: dataset %s is damaged: %s", h->path, name, reason);
  *is_linked = mine.fileno != its.fileno;
cleanup:
  if (file >= 0) H5Fclose(file);
  return st;
}

/* Sizes that the file claims but cannot hold are refused here, before anything is allocated by them. */
static syz_status check_storage(h5_here *h, const char *name, h5_kept *o, hid_t create)
{
  syz_status st = SYZ_OK;
  hsize_t file_bytes = 0;
  bool is_linked = false;
  const double claimed = (double)o->facts.rows * (double)o->facts.row_elements * (double)H5Tget_size(o->type);
  SYZ_TRY(check_sources(h, name, o, create));
  SYZ_REQUIRE(claimed < 9e18, SYZ_ERR_DATA, "%s: dataset %s claims %.3g bytes", h->path, name, claimed);
  if (claimed == 0 || o->is_external || o->layout == H5D_VIRTUAL) return SYZ_OK;
  SYZ_TRY(holding_file(h, name, o, &file_bytes, &is_linked));
  const hsize_t stored = H5Dget_storage_size(o->dataset);
  SYZ_REQUIRE(stored > 0, SYZ_ERR_DATA, "%s: dataset %s was declared but never written", h->path, name);
  if (o->layout == H5D_CONTIGUOUS) {
    const haddr_t offset = H5Dget_offset(o->dataset);
    if (offset == HADDR_UNDEF) return SYZ_OK;
    SYZ_REQUIRE(claimed <= (double)file_bytes && offset <= file_bytes && (hsize_t)claimed <= file_bytes - offset,
                SYZ_ERR_DATA, "%s: dataset %s claims %.0f bytes from byte %llu on, but the file ends at %llu", h->path,
                name, claimed, (unsigned long long)offset, (unsigned long long)file_bytes);
    if (!is_linked && H5Pget_nfilters(create) == 0 && offset < (haddr_t)1 << 62) o->facts.offset = (int64_t)offset;
  } else {
    /* deflate reaches 1032 : 1; more than the limit cannot be data. */
    SYZ_REQUIRE(stored <= file_bytes && claimed <= (double)COMPRESSION_LIMIT * (double)stored, SYZ_ERR_DATA,
                "%s: dataset %s claims %.0f bytes but only %llu are stored", h->path, name, claimed,
                (unsigned long long)stored);
    SYZ_REQUIRE(o->chunk_bytes <= chunk_limit, SYZ_ERR_DATA,
                "%s: dataset %s is stored in chunks of %.0f MiB, at most %.0f are unpacked at a time: h5repack -l "
                "makes smaller ones",
                h->path, name, o->chunk_bytes / 1048576.0, chunk_limit / 1048576.0);
  }
cleanup:
  return st;
}

static char class_of(hid_t type, int *bits)
{
  *bits = (int)(H5Tget_size(type) * 8);
  switch (H5Tget_class(type)) {
  case H5T_FLOAT:
    return 'f';
  case H5T_INTEGER:
    return H5Tget_sign(type) == H5T_SGN_NONE ? 'u' : 'i';
  case H5T_ENUM:
    return 'b';
  case H5T_STRING:
    return 's';
  default:
    return '?';
  }
}

/* The one of our types that it is stored as; -1: none of them. */
static int8_t own_type(hid_t type)
{
  const syz_h5_type all[] = {SYZ_H5_F32, SYZ_H5_F64, SYZ_H5_I64, SYZ_H5_I32, SYZ_H5_U8, SYZ_H5_BF16};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    const hid_t id = h5_file_type(all[i]);
    const bool is_equal = H5Tequal(type, id) > 0;
    h5_type_close(all[i], id);
    if (is_equal) return (int8_t)all[i];
  }
  return -1;
}

/* Rank, sizes, type: what the description says. */
static syz_status describe(h5_here *h, const char *name, h5_kept *o)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  hsize_t dims[H5S_MAX_RANK], chunk[H5S_MAX_RANK];
  double elements = 1;
  h5_facts *facts = &o->facts;
  hid_t create = -1;
  o->space = H5Dget_space(o->dataset);
  o->type = H5Dget_type(o->dataset);
  SYZ_REQUIRE(o->space >= 0 && o->type >= 0, h5_here_why(h, reason), "%s: dataset %s is damaged: %s", h->path, name,
              reason);
  create = H5Dget_create_plist(o->dataset);
  o->layout = create >= 0 ? H5Pget_layout(create) : H5D_LAYOUT_ERROR;
  SYZ_REQUIRE(o->layout != H5D_LAYOUT_ERROR, h5_here_why(h, reason), "%s: dataset %s is damaged: %s", h->path, name,
              reason);
  const int ndim = H5Sget_simple_extent_ndims(o->space);
  SYZ_REQUIRE(ndim >= 0 && ndim <= H5_DIMS, SYZ_ERR_DATA, "%s: dataset %s has %d axes, at most %d are read", h->path,
              name, ndim, H5_DIMS);
  SYZ_REQUIRE(H5Sget_simple_extent_type(o->space) != H5S_NULL, SYZ_ERR_DATA, "%s: dataset %s holds nothing", h->path,
              name);
  H5Sget_simple_extent_dims(o->space, dims, NULL);
  o->axes = ndim;
  *facts = (h5_facts){.ndim = ndim, .rows = ndim ? (int64_t)dims[0] : 1, .row_elements = 1, .offset = -1};
  for (int i = 0; i < ndim; i++) {
    elements *= (double)dims[i];
    SYZ_REQUIRE(dims[i] < ((hsize_t)1 << 60) && elements < 1e18, SYZ_ERR_DATA, "%s: dataset %s claims axis %d of %llu",
                h->path, name, i, (unsigned long long)dims[i]);
    facts->shape[i] = (int64_t)dims[i];
    if (i) facts->row_elements *= (int64_t)dims[i];
  }
  int bits;
  facts->kind = class_of(o->type, &bits);
  facts->bits = bits;
  facts->own_type = own_type(o->type);
  if (o->layout == H5D_CHUNKED && ndim > 0) {
    SYZ_REQUIRE(H5Pget_chunk(create, ndim, chunk) == ndim, h5_here_why(h, reason), "%s: dataset %s is damaged: %s",
                h->path, name, reason);
    o->chunk_rows = (int64_t)(chunk[0] < dims[0] ? chunk[0] : dims[0]);
    o->chunk_bytes = (double)H5Tget_size(o->type);
    for (int i = 0; i < ndim; i++) o->chunk_bytes *= (double)chunk[i];
  }
  SYZ_TRY(check_storage(h, name, o, create));
  if (facts->own_type < 0) facts->offset = -1;
cleanup:
  if (create >= 0) H5Pclose(create);
  return st;
}

/* What opening it in the usual way has shown to be needed. A chunk that is larger than HDF5's cache of 1 MiB would be
 * unpacked anew for every row: it gets room. External storage of a relative name lies beside the file, as links do.
 * (Not for every dataset: one that is open with such a prefix cannot be the source of a view, which then reads fill
 * values.) */
static syz_status open_again(h5_here *h, const char *name, h5_kept *o)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  const double usual = 1 << 20;
  const bool is_large = o->chunk_bytes > usual && o->chunk_bytes <= CHUNK_CACHE;
  if (!is_large && !o->is_external) return SYZ_OK;
  const hid_t access = H5Pcreate(H5P_DATASET_ACCESS);
  if (is_large) H5Pset_chunk_cache(access, 101, CHUNK_CACHE, 1.0);
  if (o->is_external) H5Pset_efile_prefix(access, "${ORIGIN}");
  H5Dclose(o->dataset);
  o->dataset = H5Dopen2(h->file, name, access);
  if (access >= 0) H5Pclose(access);
  SYZ_REQUIRE(o->dataset >= 0, h5_here_why(h, reason), "%s: dataset %s cannot be opened: %s", h->path, name, reason);
cleanup:
  return st;
}

/* Of an open dataset of records only this member. */
static syz_status choose_member(h5_here *h, const char *name, h5_kept *o, const char *member)
{
  syz_status st = SYZ_OK;
  int bits;
  SYZ_TRY(h5_here_member(h, name, member, o->type, &o->facts, &o->element));
  o->member = member;
  o->facts.kind = class_of(o->element, &bits);
  o->facts.bits = bits;
  o->facts.own_type = -1;
  o->facts.offset = -1;
cleanup:
  return st;
}

/* The type in memory of what is read as items of `element`. */
static hid_t type_in_memory(const h5_kept *o, hid_t element)
{
  if (!o->member) return H5Tcopy(element);
  return h5_here_record_of(o->member, element, o->facts.ndim - o->axes, o->facts.shape + o->axes);
}

/* An open dataset, all its sizes checked against the file; kept for the next time. */
static syz_status look_up(h5_here *h, const char *name, h5_kept **out)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON], at[1024];
  H5O_info_t info;
  bool has;
  size_t record = 0;
  h5_kept *o = &h->kept[0];
  for (int i = 0; i < H5_KEPT; i++) {
    if (h->kept[i].name && strcmp(h->kept[i].name, name) == 0) {
      h->kept[i].used = ++h->clock;
      *out = &h->kept[i];
      return SYZ_OK;
    }
    if (h->kept[i].used < o->used) o = &h->kept[i];
  }
  forget(o);
  SYZ_TRY(h5_here_has(h, name, &has));
  if (!has) record = h5_here_record(h, name);
  SYZ_REQUIRE(has || record, SYZ_ERR_DATA, "%s: no dataset %s", h->path, name);
  snprintf(at, sizeof at, "%.*s", (int)(record ? record : strlen(name)), name);
  SYZ_REQUIRE(H5Oget_info_by_name2(h->file, at, &info, H5O_INFO_BASIC, H5P_DEFAULT) >= 0, h5_here_why(h, reason),
              "%s: %s is unreadable: %s", h->path, name, reason);
  SYZ_REQUIRE(info.type == H5O_TYPE_DATASET, SYZ_ERR_DATA, "%s: %s is not a dataset", h->path, name);
  o->name = h5_copy_text(name);
  SYZ_REQUIRE(o->name, SYZ_ERR_MEMORY, "%s: no memory for the name of dataset %s", h->path, name);
  o->dataset = H5Dopen2(h->file, at, H5P_DEFAULT);
  SYZ_REQUIRE(o->dataset >= 0, h5_here_why(h, reason), "%s: dataset %s cannot be opened: %s", h->path, name, reason);
  SYZ_TRY(describe(h, name, o));
  if (record) SYZ_TRY(choose_member(h, name, o, o->name + record + 1));
  SYZ_TRY(open_again(h, at, o));
  o->used = ++h->clock;
  *out = o;
cleanup:
  if (st != SYZ_OK) forget(o);
  H5Eclear2(H5E_DEFAULT);
  return st;
}

syz_status h5_here_facts(h5_here *h, const char *name, h5_facts *facts)
{
  syz_status st = SYZ_OK;
  h5_kept *o;
  SYZ_TRY(look_up(h, name, &o));
  *facts = o->facts;
cleanup:
  return st;
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

static syz_status select_rows(const h5_kept *o, int64_t first, int64_t n, hid_t *memory)
{
  const h5_facts *facts = &o->facts;
  hsize_t start[H5_DIMS] = {0}, count[H5_DIMS];
  for (int i = 0; i < o->axes; i++) count[i] = (hsize_t)facts->shape[i];
  if (o->axes) {
    start[0] = (hsize_t)first;
    count[0] = (hsize_t)n;
    if (H5Sselect_hyperslab(o->space, H5S_SELECT_SET, start, NULL, count, NULL) < 0) return SYZ_ERR_DATA;
  }
  *memory = o->axes ? H5Screate_simple(o->axes, count, NULL) : H5Screate(H5S_SCALAR);
  return *memory >= 0 ? SYZ_OK : SYZ_ERR_DATA;
}

/* Before n rows of a dataset are read; what the sources of a virtual one are stored as is not known. */
static void limit_reading(h5_here *h, const h5_kept *o, int64_t n, double more)
{
  if (o->layout == H5D_VIRTUAL) return;
  double chunks = o->chunk_rows > 0 ? (double)n / (double)o->chunk_rows + 2 : 0;
  if (chunks > CHUNKS * MOST_CHUNKS) chunks = CHUNKS * MOST_CHUNKS;
  h5_here_limit(h, CHUNKS * o->chunk_bytes + chunks * CHUNK_NOTE + more);
}

int64_t h5_here_piece(h5_here *h, const char *name, int64_t first, size_t row_bytes, size_t bytes)
{
  h5_kept *o;
  if (look_up(h, name, &o) != SYZ_OK) return 1; /* the reading says why */
  int64_t rows = row_bytes ? (int64_t)(bytes / row_bytes) : 1;
  if (rows < 1) rows = 1;
  if (o->chunk_rows <= 0) return rows;
  int64_t chunks = (rows + o->chunk_rows - 1) / o->chunk_rows;
  if (chunks > MOST_CHUNKS) chunks = MOST_CHUNKS;
  return chunks * o->chunk_rows - first % o->chunk_rows; /* up to the end of a chunk */
}

syz_status h5_here_read(h5_here *h, const char *name, syz_h5_type type, int64_t first, int64_t n, void *data)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  h5_kept *o;
  hid_t memory = -1, transfer = -1, want = -1, element = h5_file_type(type); /* little-endian is this machine's order */
  SYZ_TRY(look_up(h, name, &o));
  want = type_in_memory(o, element);
  SYZ_REQUIRE(first >= 0 && n >= 0 && first <= o->facts.rows && n <= o->facts.rows - first, SYZ_ERR_INTERNAL,
              "%s: dataset %s: no rows %lld .. %lld", h->path, name, (long long)first, (long long)(first + n));
  transfer = H5Pcreate(H5P_DATASET_XFER);
  SYZ_REQUIRE(transfer >= 0 && H5Pset_type_conv_cb(transfer, refuse_overflow, NULL) >= 0, SYZ_ERR_INTERNAL, "HDF5: %s",
              h5_reason(reason));
  SYZ_REQUIRE(select_rows(o, first, n, &memory) == SYZ_OK, h5_here_why(h, reason), "%s: dataset %s: %s", h->path, name,
              reason);
  h->work((double)n * (double)o->facts.row_elements * (double)syz_h5_type_size(type) + o->chunk_bytes +
          (o->layout == H5D_VIRTUAL ? VIEW_WORK : 0) + (o->member ? (double)n * (double)H5Tget_size(o->type) : 0));
  limit_reading(h, o, n, 0);
  st = H5Dread(o->dataset, want, memory, o->space, transfer, data) >= 0 ? SYZ_OK : h5_here_why(h, reason);
  h5_here_unlimit(h);
  SYZ_REQUIRE(st == SYZ_OK, st, "%s: dataset %s, rows %lld .. %lld cannot be read as %s: %s", h->path, name,
              (long long)first, (long long)(first + n - 1), syz_h5_type_name(type), reason);
  /* HDF5 reads fill values where the source of a virtual dataset cannot be opened. */
  SYZ_REQUIRE(!h->only.refused[0], h5_here_why(h, reason), "%s: dataset %s: %s", h->path, name, reason);
cleanup:
  if (memory >= 0) H5Sclose(memory);
  if (transfer >= 0) H5Pclose(transfer);
  if (want >= 0) H5Tclose(want);
  h5_type_close(type, element);
  H5Eclear2(H5E_DEFAULT);
  return st;
}

size_t h5_here_text_length(const char *text, size_t room)
{
  const char *end = memchr(text, '\0', room);
  return end ? (size_t)(end - text) : room;
}

static void put_text(char *to, size_t room, const char *from, size_t n)
{
  if (n >= room) n = room - 1;
  memcpy(to, from, n);
  to[n] = '\0';
  while (n && (to[n - 1] == ' ' || to[n - 1] == '\0')) to[--n] = '\0';
}

syz_status h5_here_strings(h5_here *h, const char *name, int64_t first, int64_t n, size_t room, char *text)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  h5_kept *o;
  hid_t memory = -1, type = -1;
  char *fixed = NULL;
  char **variable = NULL;
  bool is_read = false;
  SYZ_TRY(look_up(h, name, &o));
  const int64_t texts = n * o->facts.row_elements;
  const hid_t element = o->member ? o->element : o->type;
  type = type_in_memory(o, element);
  SYZ_REQUIRE(select_rows(o, first, n, &memory) == SYZ_OK, h5_here_why(h, reason), "%s: dataset %s: %s", h->path, name,
              reason);
  h->work(o->chunk_bytes);
  if (H5Tis_variable_str(element) > 0) {
    SYZ_ALLOC(variable, "strings", texts);
    limit_reading(h, o, n, 3 * h->file_bytes);
    is_read = H5Dread(o->dataset, type, memory, o->space, H5P_DEFAULT, variable) >= 0;
    st = is_read ? SYZ_OK : h5_here_why(h, reason);
    h5_here_unlimit(h);
    SYZ_REQUIRE(st == SYZ_OK, st, "%s: dataset %s cannot be read: %s", h->path, name, reason);
    for (int64_t i = 0; i < texts; i++)
      put_text(text + (size_t)i * room, room, variable[i] ? variable[i] : "", variable[i] ? strlen(variable[i]) : 0);
  } else {
    const size_t width = H5Tget_size(element);
    SYZ_REQUIRE(width > 0 && width < H5_TEXT_LIMIT, SYZ_ERR_DATA, "%s: dataset %s holds texts of %zu bytes", h->path,
                name, width);
    fixed = syz_alloc("strings", (size_t)texts, width);
    SYZ_REQUIRE(fixed, SYZ_ERR_MEMORY, "%s: dataset %s: no memory for its text", h->path, name);
    limit_reading(h, o, n, 0);
    st = H5Dread(o->dataset, type, memory, o->space, H5P_DEFAULT, fixed) >= 0 ? SYZ_OK : h5_here_why(h, reason);
    h5_here_unlimit(h);
    SYZ_REQUIRE(st == SYZ_OK, st, "%s: dataset %s cannot be read: %s", h->path, name, reason);
    for (int64_t i = 0; i < texts; i++) {
      const char *from = fixed + (size_t)i * width;
      put_text(text + (size_t)i * room, room, from, h5_here_text_length(from, width));
    }
  }
  SYZ_REQUIRE(!h->only.refused[0], h5_here_why(h, reason), "%s: dataset %s: %s", h->path, name, reason);
cleanup:
  if (is_read) H5Dvlen_reclaim(type, memory, H5P_DEFAULT, variable);
  if (memory >= 0) H5Sclose(memory);
  if (type >= 0) H5Tclose(type);
  syz_free(&variable);
  syz_free(&fixed);
  H5Eclear2(H5E_DEFAULT);
  return st;
}
