// MUL_MAT of ggml on interleaved weights: called by every thread of ggml's pool at once.

#pragma once

#include <algorithm>

#include "ggml.h"
#include "multiply.h"
#include "traits.h"

extern "C" {  // of ggml-cpu, declared in no header that C++ may include
void ggml_barrier(struct ggml_threadpool * pool);
void ggml_threadpool_chunk_set(struct ggml_threadpool * pool, int value);
int ggml_threadpool_chunk_add(struct ggml_threadpool * pool, int value);
}

namespace outpost {

constexpr int CHUNKS_PER_THREAD = 8;  // a thread that is put aside leaves little behind
constexpr int GROUPS_AT_ONCE = 4;

template <class Format> class MatMul : public ggml::cpu::tensor_traits {
  public:
    bool work_size(int, const ggml_tensor * op, size_t & size) override {
        size = size_t(ggml_nelements(op->src[1])) / BLOCK * ACTIVATION_BYTES;
        return op->op == GGML_OP_MUL_MAT;
    }

    bool compute_forward(ggml_compute_params * params, ggml_tensor * op) override {
        if (op->op != GGML_OP_MUL_MAT) {
            return false;
        }
        GGML_ASSERT(op->src[1]->nb[0] == sizeof(float) && op->nb[0] == sizeof(float));
        const Work work = {params, op, op->src[0]->ne[0] / BLOCK, ggml_nrows(op->src[1])};
        if (params->ith == 0) {
            ggml_threadpool_chunk_set(params->threadpool, params->nth);
        }
        quantise_columns(work);
        ggml_barrier(params->threadpool);
        multiply_rows(work);
        return true;
    }

  private:
    struct Work {
        ggml_compute_params * params;
        ggml_tensor * op;
        int64_t blocks;   // of a row
        int64_t columns;  // rows of src1 over all its dimensions

        int width(int64_t first) const { return int(std::min<int64_t>(Vectors::MAX_TILE, columns - first)); }
        uint8_t * tile(int64_t first) const {
            return (uint8_t *) params->wdata + size_t(first) * size_t(blocks) * ACTIVATION_BYTES;
        }
    };

    static float * column(const ggml_tensor * of, int64_t number) {
        const int64_t i1 = number % of->ne[1];
        const int64_t i2 = number / of->ne[1] % of->ne[2];
        const int64_t i3 = number / (of->ne[1] * of->ne[2]);
        return (float *) ((char *) of->data + i1 * of->nb[1] + i2 * of->nb[2] + i3 * of->nb[3]);
    }

    static void quantise_columns(const Work & work) {
        for (int64_t number = work.params->ith; number < work.columns; number += work.params->nth) {
            const int64_t first = number / Vectors::MAX_TILE * Vectors::MAX_TILE;
            quantise<Format>(work.tile(first), work.width(first), int(number - first),
                             column(work.op->src[1], number), work.blocks);
        }
    }

    static void multiply_rows(const Work & work) {
        const int64_t groups = work.op->src[0]->ne[1] / ROWS;
        const int64_t size = std::max<int64_t>(1, groups / (work.params->nth * CHUNKS_PER_THREAD));
        for (int64_t chunk = work.params->ith; chunk * size < groups;
             chunk = ggml_threadpool_chunk_add(work.params->threadpool, 1)) {
            const int64_t end = std::min(groups, (chunk + 1) * size);
            for (int64_t group = chunk * size; group < end; group += GROUPS_AT_ONCE) {
                multiply_groups(work, group, std::min(end, group + GROUPS_AT_ONCE));
            }
        }
    }

    // Tile by tile: the weights of a few groups stay in the first cache meanwhile.
    static void multiply_groups(const Work & work, int64_t begin, int64_t end) {
        const int64_t group_bytes = work.blocks * int64_t(Format::BLOCK_BYTES);
        const auto * weights = (const uint8_t *) work.op->src[0]->data;
        for (int64_t first = 0; first < work.columns; first += Vectors::MAX_TILE) {
            const int width = work.width(first);
            float * columns[Vectors::MAX_TILE];
            for (int c = 0; c < width; ++c) {
                columns[c] = column(work.op, first + c);
            }
            for (int64_t group = begin; group < end; ++group) {
                multiply_group<Format>(width, weights + group * group_bytes, work.tile(first), work.blocks, columns,
                                       group * ROWS);
            }
        }
    }
};

}  // namespace outpost
