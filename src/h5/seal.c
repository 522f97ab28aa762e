/* SPDX-License-Identifier: BSD-3-Clause */
/** Whether the checksum of what a file says of itself holds (seal_sum.c), and those of all its datasets. */
#include <stdio.h>
#include <string.h>

#include "request.h"
#include "seal.h"

enum { SEAL_BYTES = 256 };

/* *is_own: whether the file says that it is of this program; *text is then "" without a checksum of its attributes,
 * else what that is and what the file says, with a blank between. */
static syz_status read_seal(syz_h5 *f, bool *is_own, char **text)
{
  syz_status st = SYZ_OK;
  h5_ask question = {.wish = H5_WISH_SEAL};
  h5_answer a;
  SYZ_TRY(h5_request(f, &question, "", &a));
  *is_own = a.is_there != 0;
  SYZ_TRY(h5_take_text(f, &a, SEAL_BYTES, text));
cleanup:
  return st;
}

syz_status h5_seal_check(syz_h5 *f)
{
  syz_status st = SYZ_OK;
  char *text = NULL, found[H5_SEAL_CHARS], stored[H5_SEAL_CHARS];
  SYZ_TRY(read_seal(f, &f->is_own, &text));
  if (!f->is_own || !*text) goto cleanup; /* another program's `checksum` is none of ours */
  SYZ_REQUIRE(sscanf(text, "%16s %16s", found, stored) == 2, SYZ_ERR_DATA,
              "%s is damaged: its root attribute `checksum` is empty", f->path);
  SYZ_REQUIRE(strcmp(found, stored) == 0, SYZ_ERR_DATA,
              "%s is damaged: the checksum of its attributes and of its datasets' names, types and shapes is %s, the "
              "file says %s; make it again or take another copy (a file that was changed on purpose is read once its "
              "root attribute `checksum` is removed)",
              f->path, found, stored);
  f->is_sealed = true;
cleanup:
  syz_free(&text);
  return st;
}

bool syz_h5_lacks_seal(const syz_h5 *f) { return f->is_own && !f->is_sealed; }
bool syz_h5_is_sealed(const syz_h5 *f) { return f->is_sealed; }

typedef struct pass {
  syz_h5 *f;
  int number;
  bool is_whole;
} pass;

static syz_status verify_in_turn(void *context, const char *name)
{
  pass *p = context;
  bool has = true;
  const syz_status st = p->number++ % p->f->size == p->f->rank ? syz_h5_verify(p->f, name, &has) : SYZ_OK;
  p->is_whole = p->is_whole && has;
  return st;
}

syz_status syz_h5_verify_all(syz_h5 *f, bool *is_whole)
{
  syz_status st = SYZ_OK;
  pass p = {.f = f, .is_whole = f->is_sealed};
  SYZ_TRY(h5_agree(f, syz_h5_visit(f, "", verify_in_turn, &p)));
  int64_t whole = p.is_whole;
  if (f->comm) syz_allreduce_i64(f->comm, &whole, 1, SYZ_MIN);
  *is_whole = whole != 0;
cleanup:
  return st;
}
