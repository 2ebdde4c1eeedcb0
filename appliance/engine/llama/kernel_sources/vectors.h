// What the processor does in one instruction, under one name for AVX-512 (16 rows at once) and AVX2 (8 rows).
//
// `dot` adds to each lane the products of four unsigned weights with four signed values of at most 127.
// `dot_nibbles` does for weights under 16, up to 8 times from 0 on; `total` of it is the lane's sum.

#pragma once

#include <immintrin.h>

#include <cstdint>

namespace outpost {

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__)

struct Vectors {
    using Ints = __m512i;
    using Floats = __m512;
    static constexpr int LANES = 16;
    static constexpr int MAX_TILE = 8;

    static Ints load(const void * p) { return _mm512_loadu_si512(p); }
    static Ints low_nibbles(Ints v) { return _mm512_and_si512(v, _mm512_set1_epi8(0x0f)); }
    static Ints high_nibbles(Ints v) { return low_nibbles(_mm512_srli_epi16(v, 4)); }
    static Ints set(int32_t v) { return _mm512_set1_epi32(v); }
    static Ints unsign(Ints v) { return _mm512_xor_si512(v, _mm512_set1_epi8(-128)); }
    static Ints dot(Ints sum, Ints weights, Ints values) { return _mm512_dpbusd_epi32(sum, weights, values); }
    static Ints dot_nibbles(Ints sum, Ints weights, Ints values) { return dot(sum, weights, values); }
    static Ints total(Ints sum) { return sum; }
    static Floats zero() { return _mm512_setzero_ps(); }
    static Floats set(float v) { return _mm512_set1_ps(v); }
    static Floats halves(const uint16_t * p) {
        return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) p));
    }
    static Floats floats(Ints v) { return _mm512_cvtepi32_ps(v); }
    static Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
    static Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
    static void store(float * p, Floats v) { _mm512_storeu_ps(p, v); }
};

#define OUTPOST_KERNELS "avx512-vnni"

#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

struct Vectors {
    using Ints = __m256i;
    using Floats = __m256;
    static constexpr int LANES = 8;
    static constexpr int MAX_TILE = 4;

    static Ints load(const void * p) { return _mm256_loadu_si256((const __m256i *) p); }
    static Ints low_nibbles(Ints v) { return _mm256_and_si256(v, _mm256_set1_epi8(0x0f)); }
    static Ints high_nibbles(Ints v) { return low_nibbles(_mm256_srli_epi16(v, 4)); }
    static Ints set(int32_t v) { return _mm256_set1_epi32(v); }
    static Ints unsign(Ints v) { return _mm256_xor_si256(v, _mm256_set1_epi8(-128)); }
#if defined(__AVXVNNI__)
    static Ints dot(Ints sum, Ints weights, Ints values) { return _mm256_dpbusd_avx_epi32(sum, weights, values); }
    static Ints dot_nibbles(Ints sum, Ints weights, Ints values) { return dot(sum, weights, values); }
    static Ints total(Ints sum) { return sum; }
#else
    // Two sums of 16 bits a lane: 8 x 2 x 15 x 127 fits.
    static Ints dot_nibbles(Ints sum, Ints weights, Ints values) {
        return _mm256_add_epi16(sum, _mm256_maddubs_epi16(weights, values));
    }
    static Ints total(Ints sum) { return _mm256_madd_epi16(sum, _mm256_set1_epi16(1)); }
    // The sum of two products leaves 16 bits when a weight has its upper bit: that bit goes separately.
    static Ints dot(Ints sum, Ints weights, Ints values) {
        const Ints small = _mm256_and_si256(weights, _mm256_set1_epi8(0x7f));
        const Ints large = _mm256_and_si256(weights, _mm256_set1_epi8(-128));
        sum = _mm256_add_epi32(sum, total(_mm256_maddubs_epi16(small, values)));
        return _mm256_add_epi32(sum, total(_mm256_maddubs_epi16(large, values)));
    }
#endif
    static Floats zero() { return _mm256_setzero_ps(); }
    static Floats set(float v) { return _mm256_set1_ps(v); }
    static Floats halves(const uint16_t * p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) p)); }
    static Floats floats(Ints v) { return _mm256_cvtepi32_ps(v); }
    static Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
    static Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
    static void store(float * p, Floats v) { _mm256_storeu_ps(p, v); }
};

#define OUTPOST_KERNELS "avx2"

#else
#error "no kernels for this processor: AVX2 with FMA and F16C is needed"
#endif

}  // namespace outpost
