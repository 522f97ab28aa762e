/* SPDX-License-Identifier: BSD-3-Clause */
/** What reading and writing share of libhdf5: its beginning, its filters, its errors in our words, its types for ours.
 */
#include <errno.h>
#include <limits.h>
#include <lzf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "syzygy/h5.h"

enum { LZF_FILTER = 32000 };

/* LZF, which h5py offers and the Multimodal Universe's files use: only unpacking. */
static size_t lzf_filter(unsigned flags, size_t n_parameters, const unsigned parameters[], size_t bytes, size_t *room,
                         void **buffer)
{
  if (!(flags & H5Z_FLAG_REVERSE) || bytes == 0 || bytes > UINT_MAX) return 0;
  size_t want = n_parameters >= 3 && parameters[2] ? parameters[2] : *room; /* h5py notes the size of a chunk here */
  for (int attempt = 0; attempt < 8 && want && want <= UINT_MAX; attempt++, want *= 2) {
    void *out = malloc(want); /* HDF5 will free() it */
    if (!out) return 0;
    const unsigned done = lzf_decompress(*buffer, (unsigned)bytes, out, (unsigned)want);
    if (done) {
      free(*buffer);
      *buffer = out;
      *room = want;
      return done;
    }
    free(out);
    if (errno != E2BIG) return 0; /* damaged */
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

typedef struct found {
  char *text;
  bool is_memory;
} found;

static herr_t keep_innermost(unsigned n, const H5E_error2_t *e, void *context)
{
  found *f = context;
  if (n == 0) snprintf(f->text, H5_REASON, "%s", e->desc && *e->desc ? e->desc : "unknown reason");
  if (n == 0) f->is_memory = e->maj_num == H5E_RESOURCE && (e->min_num == H5E_NOSPACE || e->min_num == H5E_CANTALLOC);
  return 0;
}

bool h5_reason_memory(char text[H5_REASON])
{
  found f = {text, false};
  snprintf(text, H5_REASON, "unknown reason");
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &f);
  H5Eclear2(H5E_DEFAULT);
  return f.is_memory;
}

const char *h5_reason(char text[H5_REASON])
{
  (void)h5_reason_memory(text);
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
  case SYZ_H5_I64:
    return 8;
  case SYZ_H5_F32:
  case SYZ_H5_I32:
    return 4;
  case SYZ_H5_BF16:
    return 2;
  case SYZ_H5_U8:
    return 1;
  }
  return 0;
}

const char *syz_h5_type_name(syz_h5_type t)
{
  switch (t) {
  case SYZ_H5_F64:
    return "float64";
  case SYZ_H5_I64:
    return "int64";
  case SYZ_H5_F32:
    return "float32";
  case SYZ_H5_I32:
    return "int32";
  case SYZ_H5_BF16:
    return "bfloat16";
  case SYZ_H5_U8:
    return "uint8";
  }
  return "?";
}

hid_t h5_file_type(syz_h5_type t)
{
  switch (t) {
  case SYZ_H5_F64:
    return H5T_IEEE_F64LE;
  case SYZ_H5_I64:
    return H5T_STD_I64LE;
  case SYZ_H5_F32:
    return H5T_IEEE_F32LE;
  case SYZ_H5_I32:
    return H5T_STD_I32LE;
  case SYZ_H5_U8:
    return H5T_STD_U8LE;
  case SYZ_H5_BF16:
    break;
  }
  hid_t bf16 =
      H5Tcopy(H5T_IEEE_F32LE); /* sign 15, exponent 7..14 with bias 127, fraction 0..6: h5py shows it as numbers */
  H5Tset_fields(bf16, 15, 7, 8, 0, 7);
  H5Tset_size(bf16, 2);
  H5Tset_ebias(bf16, 127);
  return bf16;
}

void h5_type_close(syz_h5_type t, hid_t id)
{
  if (t == SYZ_H5_BF16 && id >= 0) H5Tclose(id);
}
