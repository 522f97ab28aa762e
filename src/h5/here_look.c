/* SPDX-License-Identifier: BSD-3-Clause */
/** Whether a name leads to something in the file, through links that are allowed; and why the library failed. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "here.h"
#include "syzygy/files.h"

syz_status h5_here_why(h5_here *h, char reason[H5_REASON])
{
  const bool is_memory = h5_reason_memory(reason);
  syz_status st = SYZ_ERR_DATA;
  if (h->only.refused[0]) {
    snprintf(reason, H5_REASON, "it leads to another file, %.300s", h->only.refused);
  } else if (is_memory && h->is_tight) {
    snprintf(reason, H5_REASON, "out of memory: the user's limit (ulimit -v) leaves too little; the file may be sound");
    st = SYZ_ERR_MEMORY;
  } else if (is_memory) {
    snprintf(reason, H5_REASON, "it asks for more than the %zu MiB of memory that reading a file may take",
             h->memory >> 20);
  }
  h->only.refused[0] = '\0';
  return st;
}

syz_status h5_here_check_link(h5_here *h, hid_t group, const char *name, const char *shown, const H5L_info_t *link)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON], value[4096], real[PATH_MAX];
  const char *file = NULL, *object = NULL;
  unsigned flags;
  if (link->type == H5L_TYPE_HARD || link->type == H5L_TYPE_SOFT)
    return SYZ_OK; /* what a soft link leads through is seen by only.c */
  const bool is_external = link->type == H5L_TYPE_EXTERNAL && link->u.val_size <= sizeof value &&
                           H5Lget_val(group, name, value, sizeof value, H5P_DEFAULT) >= 0 &&
                           H5Lunpack_elink_val(value, link->u.val_size, &flags, &file, &object) >= 0;
  SYZ_REQUIRE(is_external, SYZ_ERR_DATA, "%s: %s is a link of an unknown kind: %s", h->path, shown, h5_reason(reason));
  SYZ_REQUIRE(h5_only_allows(&h->only, file, real), SYZ_ERR_DATA, "%s: %s is a link to %.200s in the file %s", h->path,
              shown, object, h->only.refused);
cleanup:
  h->only.refused[0] = '\0';
  return st;
}

syz_status h5_here_has(h5_here *h, const char *name, bool *has)
{
  syz_status st = SYZ_OK;
  char part[1024], reason[H5_REASON];
  const size_t n = strlen(name);
  H5L_info_t link;
  H5O_info_t object;
  *has = false;
  if (n == 0 || n >= sizeof part) return SYZ_OK;
  for (size_t i = 1; i <= n; i++) { /* H5Lexists wants every group on the way to exist */
    if (name[i] != '/' && name[i] != '\0') continue;
    memcpy(part, name, i);
    part[i] = '\0';
    htri_t is_there = H5Lexists(h->file, part, H5P_DEFAULT);
    SYZ_REQUIRE(is_there >= 0, h5_here_why(h, reason), "%s: %s cannot be looked for: %s", h->path, part, reason);
    if (is_there == 0) goto cleanup;
    SYZ_REQUIRE(H5Lget_info(h->file, part, &link, H5P_DEFAULT) >= 0, h5_here_why(h, reason), "%s: %s is damaged: %s",
                h->path, part, reason);
    SYZ_TRY(h5_here_check_link(h, h->file, part, part, &link));
    if (link.type == H5L_TYPE_HARD) {
      is_there = H5Oexists_by_name(h->file, part, H5P_DEFAULT);
      SYZ_REQUIRE(is_there >= 0, h5_here_why(h, reason), "%s: %s is damaged: %s", h->path, part, reason);
      if (is_there == 0) goto cleanup;
      if (i == n) break;
    }
    const bool is_found = H5Oget_info_by_name2(h->file, part, &object, H5O_INFO_BASIC, H5P_DEFAULT) >= 0;
    if (!is_found && link.type == H5L_TYPE_SOFT && !h->only.refused[0]) goto cleanup; /* it leads to nothing */
    SYZ_REQUIRE(is_found, h5_here_why(h, reason), "%s: %s is unreadable: %s", h->path, part, reason);
    if (i == n) break;
    if (object.type != H5O_TYPE_GROUP) goto cleanup;
  }
  *has = true;
cleanup:
  H5Eclear2(H5E_DEFAULT);
  return st;
}
