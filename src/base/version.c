/* SPDX-License-Identifier: BSD-3-Clause */
/** What this program is and what this processor offers. */
#include "syzygy/base.h"

const char *syz_version(void) { return SYZ_VERSION; }
const char *syz_commit(void) { return SYZ_COMMIT; }
const char *syz_build(void) { return SYZ_BUILD; }

const char *syz_instruction_set(void)
{
  __builtin_cpu_init();
  bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                    __builtin_cpu_supports("avx512dq");
  if (has_avx512 && __builtin_cpu_supports("avx512bf16")) return "avx512_bf16";
  if (has_avx512) return "avx512";
  return "avx2";
}
