/* SPDX-License-Identifier: BSD-3-Clause */
/** What this program is and what this processor offers. */
#include "syzygy/base.h"

const char *syz_version(void) { return SYZ_VERSION; }
const char *syz_commit(void) { return SYZ_COMMIT; }
const char *syz_build(void) { return SYZ_BUILD; }

static syz_isa limit = SYZ_ISA_AVX512_BF16;

void syz_processor_limit(syz_isa most) { limit = most; }

syz_isa syz_processor_isa(void)
{
  __builtin_cpu_init();
  bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                    __builtin_cpu_supports("avx512dq");
  const syz_isa has = !has_avx512 ? SYZ_ISA_AVX2 : __builtin_cpu_supports("avx512bf16") ? SYZ_ISA_AVX512_BF16 : SYZ_ISA_AVX512;
  return has < limit ? has : limit;
}

const char *syz_instruction_set(void)
{
  static const char *const name[] = {"avx2", "avx512", "avx512_bf16"};
  return name[syz_processor_isa()];
}
