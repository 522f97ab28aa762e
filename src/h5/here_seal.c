/* SPDX-License-Identifier: BSD-3-Clause */
/** The checksum of what a file says of itself, formed by libhdf5 in a process of its own. See here.c and
 * seal_sum.c. */
#include <stdio.h>
#include <string.h>

#include "here.h"
#include "seal.h"

/* A text of the root; *text NULL when it is not there. That it cannot be found because the list of attributes is
 * damaged is an error here. */
static syz_status read_root(h5_here *h, const char *name, char **text)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  const htri_t is_there = H5Aexists(h->file, name);
  SYZ_REQUIRE(is_there >= 0, h5_here_why(h, reason), "%s: the attributes of the root cannot be read: %s", h->path,
              reason);
  SYZ_TRY(h5_here_text(h, "", name, text));
  SYZ_REQUIRE(!is_there || *text, SYZ_ERR_DATA, "%s: attribute %s of the root is no readable text", h->path, name);
cleanup:
  return st;
}

static syz_status sum_all(h5_here *h, uint64_t *sum)
{
  syz_status st = SYZ_OK;
  char *names = NULL;
  const char **name = NULL;
  size_t bytes = 0;
  int64_t n = 0;
  SYZ_TRY(h5_here_names(h, "", &names, &bytes));
  for (size_t i = 0; i < bytes; i++) n += names[i] == '\0';
  SYZ_ALLOC(name, "names of datasets", n + 1);
  n = 0;
  for (size_t i = 0; i < bytes; i += strlen(names + i) + 1) name[n++] = names + i;
  st = h5_seal_sum(h->file, h->path, name, n, sum);
  if (st == SYZ_ERR_MEMORY && !h->is_tight) {
    /* Not this process lacks it: no sound attribute takes so much. */
    SYZ_REQUIRE(false, SYZ_ERR_DATA,
                "%s: an attribute asks for more than the %zu MiB of memory that reading one may take", h->path,
                h->memory >> 20);
  }
  SYZ_TRY(st);
cleanup:
  syz_free(&names);
  syz_free(&name);
  return st;
}

syz_status h5_here_seal(h5_here *h, bool *is_own, char **text)
{
  syz_status st = SYZ_OK;
  char *stored = NULL, *format = NULL;
  const size_t room = (size_t)2 * H5_SEAL_CHARS + 1;
  uint64_t sum = 0;
  SYZ_TRY(read_root(h, "syzygy_format", &format));
  *is_own = format != NULL;
  if (format) SYZ_TRY(read_root(h, "checksum", &stored));
  if (stored) SYZ_TRY(sum_all(h, &sum));
  SYZ_ALLOC(*text, "checksum", room);
  if (stored) snprintf(*text, room, "%016llx %.16s", (unsigned long long)sum, stored);
cleanup:
  syz_free(&stored);
  syz_free(&format);
  return st;
}
