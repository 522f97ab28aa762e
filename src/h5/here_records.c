/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Datasets of records (compound types), which is how astropy writes tables: a member MEMBER of the dataset TABLE is
 * read as if it were a dataset of the name TABLE/MEMBER. No file can have one of that name, since a dataset is no
 * group. Axes that a member has of its own come after those of the dataset.
 */
#include <string.h>

#include "file.h"
#include "here.h"

size_t h5_here_record(h5_here *h, const char *name)
{
  char at[1024];
  size_t found = 0;
  const size_t n = strlen(name);
  for (size_t i = 1; i < n && n < sizeof at && !found; i++) {
    bool has = false;
    if (name[i] != '/') continue;
    memcpy(at, name, i);
    at[i] = '\0';
    if (h5_here_has(h, at, &has) != SYZ_OK || !has) break;
    const hid_t dataset = H5Dopen2(h->file, at, H5P_DEFAULT), type = dataset >= 0 ? H5Dget_type(dataset) : -1;
    if (type >= 0 && H5Tget_class(type) == H5T_COMPOUND && H5Tget_member_index(type, name + i + 1) >= 0) found = i;
    if (type >= 0) H5Tclose(type);
    if (dataset >= 0) H5Dclose(dataset);
  }
  H5Eclear2(H5E_DEFAULT);
  return found;
}

syz_status h5_here_member(h5_here *h, const char *name, const char *member, hid_t record, h5_facts *facts,
                          hid_t *element)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  hsize_t dims[H5S_MAX_RANK];
  double elements = (double)facts->rows * (double)facts->row_elements;
  const int k = H5Tget_member_index(record, member);
  hid_t type = k >= 0 ? H5Tget_member_type(record, (unsigned)k) : -1;
  SYZ_REQUIRE(type >= 0, h5_here_why(h, reason), "%s: dataset %s is damaged: %s", h->path, name, reason);
  if (H5Tget_class(type) == H5T_ARRAY) {
    const int axes = H5Tget_array_ndims(type);
    SYZ_REQUIRE(axes >= 1 && facts->ndim >= 1 && axes <= H5_DIMS - facts->ndim, SYZ_ERR_DATA,
                "%s: dataset %s has %d axes, at most %d are read", h->path, name, axes + facts->ndim, H5_DIMS);
    SYZ_REQUIRE(H5Tget_array_dims2(type, dims) == axes, h5_here_why(h, reason), "%s: dataset %s is damaged: %s",
                h->path, name, reason);
    for (int i = 0; i < axes; i++) {
      elements *= (double)dims[i];
      SYZ_REQUIRE(elements < 1e18, SYZ_ERR_DATA, "%s: dataset %s claims %.3g items", h->path, name, elements);
      facts->shape[facts->ndim++] = (int64_t)dims[i];
      facts->row_elements *= (int64_t)dims[i];
    }
    const hid_t array = type;
    type = H5Tget_super(array);
    H5Tclose(array);
    SYZ_REQUIRE(type >= 0, h5_here_why(h, reason), "%s: dataset %s is damaged: %s", h->path, name, reason);
  }
  *element = type;
  type = -1;
cleanup:
  if (type >= 0) H5Tclose(type);
  return st;
}

hid_t h5_here_record_of(const char *member, hid_t element, int axes, const int64_t *shape)
{
  hsize_t dims[H5_DIMS];
  for (int i = 0; i < axes; i++) dims[i] = (hsize_t)shape[i];
  const hid_t type = axes ? H5Tarray_create2(element, (unsigned)axes, dims) : H5Tcopy(element);
  const hid_t record = type >= 0 ? H5Tcreate(H5T_COMPOUND, H5Tget_size(type)) : -1;
  if (record >= 0) (void)H5Tinsert(record, member, 0, type);
  if (type >= 0) H5Tclose(type);
  return record;
}
