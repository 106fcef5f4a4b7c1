// The instruction sets of the CPU kernels: the only list. A file that includes it defines
//   MBERT_ISA(name, enumerator, parent, attention, needs, flags)
// first; this file undefines it. Within an architecture the order is from slow to fast.
//
//   name        the value of the environment variable MBERT_ISA, and the namespace of the kernels
//   enumerator  of enum class Isa
//   parent      the instruction set that this one extends, or none
//   attention   whose attention kernels it runs: its own (the same name), or an ancestor's
//   needs       what the processor must have beyond the parent's needs: see cpu_features.h
//   flags       compiler flags beyond the parent's
//
// CMakeLists.txt preprocesses this file to learn what to compile, and with which flags.
// scalar runs on every processor of the architecture (on x86-64 it uses SSE2). amx_emulated is for
// tests, and therefore never the fastest: AMX's kernels for linear layers, on emulated tiles.

// clang-format off
#if defined(MBERT_EMULATE_AMX)
MBERT_ISA(amx_emulated, kAmxEmulated, none, scalar, true, "-DMBERT_EMULATED_TILES")
#endif
MBERT_ISA(scalar, kScalar, none, scalar, true, "")
#if defined(__x86_64__)
MBERT_ISA(avx2, kAvx2, scalar, avx2,
          avx2() && fma() && f16c(),
          "-mavx2 -mfma -mf16c")
MBERT_ISA(avx_vnni, kAvxVnni, avx2, avx2,
          avx_vnni(),
          "-mavxvnni")
MBERT_ISA(avx512, kAvx512, avx2, avx512,
          avx512f() && avx512bw() && avx512dq() && avx512vl(),
          "-mavx512f -mavx512bw -mavx512dq -mavx512vl")
MBERT_ISA(avx512_vnni, kAvx512Vnni, avx512, avx512,
          avx512_vnni(),
          "-mavx512vnni")
MBERT_ISA(avx512_bf16, kAvx512Bf16, avx512_vnni, avx512,
          avx512_bf16(),
          "-mavx512bf16")
MBERT_ISA(amx, kAmx, avx512_bf16, avx512,
          amx_tile() && amx_int8() && amx_bf16() && tile_permission(),
          "-mamx-tile -mamx-int8 -mamx-bf16")
#elif defined(__aarch64__)
MBERT_ISA(neon, kNeon, scalar, neon, true, "")
MBERT_ISA(neon_dot, kNeonDot, neon, neon,
          asimddp(),
          "-march=armv8.2-a+dotprod")
#endif
// clang-format on

#undef MBERT_ISA
