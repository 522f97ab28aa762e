/* SPDX-License-Identifier: BSD-3-Clause */
/** Name, version and commit of this program. */
#include "syzygy/base.h"

const char *syz_version(void) { return SYZ_VERSION; }
const char *syz_commit(void) { return SYZ_COMMIT; }
const char *syz_build(void) { return SYZ_BUILD; }
