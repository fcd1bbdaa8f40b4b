// Content-aware reassembly, forward and backward.
//
// A "base" is a source location at the centre of a neighbourhood; it owns up * up outputs. A "slice" is one group of the
// channels of one image. Rows are packed into scratch memory with zeros around them and the channels last, whatever the
// tensors' layout and dtype, and the sums run over registers. Each element is summed by one thread, in an order that does
// not depend on the number of threads: results repeat bit for bit.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <type_traits>

#include "strided_map.h"
#include "vector.h"

namespace feature_pyramids {
namespace {

using torch::stable::Tensor;

// Of the packed source rows of one tile, so that they stay in the second-level cache.
constexpr int64_t kTileBytes = 192 * 1024;
// Four sums of a line each fill the registers and do not spill.
constexpr int64_t kOutputs = 4;

struct Geometry {
  int64_t batch, groups, channels, size, up, down;
  int64_t source_height, source_width, base_height, base_width;

  Geometry(const Tensor& source, const Tensor& output, const Tensor& kernels, int64_t up_, int64_t down_, int64_t groups_)
      : batch(source.size(0)),
        groups(groups_),
        channels(source.size(1) / groups_),
        size(1),
        up(up_),
        // Beyond the size of the map there is one output whatever the factor.
        down(smaller(down_, larger(source.size(2), source.size(3)))),
        source_height(source.size(2)),
        source_width(source.size(3)),
        base_height(output.size(2) / up_),
        base_width(output.size(3) / up_) {
    while (size * size * groups < kernels.size(1)) size += 2;
  }

  int64_t slices() const { return batch * groups; }
  int64_t taps() const { return size * size; }
  int64_t border() const { return size / 2; }
  int64_t owned() const { return up * up; }

  StridedMap slice(const Tensor& tensor, int64_t number) const {
    const int64_t image = number / groups, group = number % groups;
    const int64_t first_channel = group * (tensor.size(1) / groups);
    return StridedMap(tensor, 1).moved(image * tensor.stride(0) + first_channel * tensor.stride(1));
  }
};

// The packed source rows that one base row needs, for the columns of one tile: (size, columns, pitch).
template <class T>
class SourceRows {
 public:
  SourceRows(const Geometry& geometry, int64_t tile_columns)
      : geometry_(geometry),
        pitch_(round_up(geometry.channels, kLineLength<T>)),
        columns_((tile_columns - 1) * geometry.down + geometry.size),
        memory_(geometry.size * columns_ * pitch_),
        rows_(geometry.size) {}

  int64_t pitch() const { return pitch_; }

  void start_tile(const StridedMap& source, int64_t first_base, int64_t bases) {
    source_ = &source;
    first_column_ = first_base * geometry_.down - geometry_.border();
    used_columns_ = (bases - 1) * geometry_.down + geometry_.size;
    next_row_ = INT64_MIN;
  }

  void advance_to(int64_t base_row) {
    first_row_ = base_row * geometry_.down - geometry_.border();
    for (int64_t y = larger(next_row_, first_row_); y < first_row_ + geometry_.size; ++y) pack(y);
    next_row_ = first_row_ + geometry_.size;
    for (int64_t i = 0; i < geometry_.size; ++i) rows_.data()[i] = slot(first_row_ + i);
  }

  // One for each row of taps.
  const T* const* all() const { return rows_.data(); }

 private:
  T* slot(int64_t y) { return memory_.data() + (y + geometry_.size) % geometry_.size * columns_ * pitch_; }

  void pack(int64_t y) {
    T* target = slot(y);
    const bool outside = y < 0 || y >= geometry_.source_height;
    const int64_t begin = outside ? used_columns_ : larger(0, -first_column_);
    const int64_t end = outside ? used_columns_ : smaller(used_columns_, geometry_.source_width - first_column_);
    std::memset(target, 0, begin * pitch_ * sizeof(T));
    load_row(*source_, geometry_.channels, y, first_column_ + begin, end - begin, target + begin * pitch_, pitch_);
    std::memset(target + end * pitch_, 0, (used_columns_ - end) * pitch_ * sizeof(T));
  }

  const Geometry& geometry_;
  int64_t pitch_, columns_;
  Scratch<T> memory_;
  Scratch<const T*> rows_;
  const StridedMap* source_ = nullptr;
  int64_t first_column_ = 0, used_columns_ = 0, first_row_ = 0, next_row_ = INT64_MIN;
};

// The values of the outputs that the bases of one row own, with the channels last: in the tensor itself where they
// lie as they are needed, else packed.
template <class T>
class OwnedRow {
 public:
  OwnedRow(const Geometry& geometry, int64_t bases, int64_t length, int64_t pitch)
      : geometry_(geometry), length_(length), pitch_(pitch), elements_(bases * geometry.owned() * pitch) {}

  // Of a tensor (channels, height, width), the bases of `row` from `first` on.
  void start(const StridedMap& map, int64_t row, int64_t first, int64_t bases) {
    map_ = &map;
    row_ = row;
    first_ = first;
    bases_ = bases;
    direct_ = map.channel_stride == 1 && is_same_type<T>(map.dtype) && length_ == pitch_;
    if (!direct_ && !memory_.data()) memory_ = Scratch<T>(elements_);
    const int64_t up = geometry_.up;
    data_ = direct_ ? reinterpret_cast<T*>(map.at(0, row * up, first * up)) : memory_.data();
    row_stride_ = direct_ ? map.row_stride : up * pitch_;
    column_stride_ = direct_ ? map.column_stride : pitch_;
    base_stride_ = direct_ ? up * map.column_stride : geometry_.owned() * pitch_;
  }

  void load() {
    if (direct_) return;
    each_owned([&](const StridedMap& map, int64_t row, T* packed) {
      load_row(map, length_, row, first_, bases_, packed, base_stride_);
    });
  }

  void store() {
    if (direct_) return;
    each_owned([&](const StridedMap& map, int64_t row, const T* packed) {
      store_row(map, length_, row, first_, bases_, packed, base_stride_);
    });
  }

  T* at(int64_t base, int64_t number) const {
    return data_ + base * base_stride_ + number / geometry_.up * row_stride_ + number % geometry_.up * column_stride_;
  }

 private:
  template <class Function>
  void each_owned(Function function) {
    for (int64_t number = 0; number < geometry_.owned(); ++number) {
      StridedMap every = map_->moved(number % geometry_.up * map_->column_stride);
      every.column_stride *= geometry_.up;
      function(every, row_ * geometry_.up + number / geometry_.up, memory_.data() + number * pitch_);
    }
  }

  const Geometry& geometry_;
  int64_t length_, pitch_, elements_;
  Scratch<T> memory_;
  const StridedMap* map_ = nullptr;
  bool direct_ = false;
  T* data_ = nullptr;
  int64_t row_ = 0, first_ = 0, bases_ = 0, row_stride_ = 0, column_stride_ = 0, base_stride_ = 0;
};

// Columns of bases of one tile, all tiles alike.
template <class T>
int64_t tile_length(const Geometry& geometry) {
  const int64_t column_bytes = geometry.size * round_up(geometry.channels, kLineLength<T>) * sizeof(T) * geometry.down;
  const int64_t tiles = divide_up(geometry.base_width, larger(8, kTileBytes / column_bytes));
  return divide_up(geometry.base_width, tiles);
}

// Call visit(slice, first base, bases, rows' begin, rows' end) for all rows of bases, each thread for a range of its own.
template <class MakeVisit>
void for_each_tile(const Geometry& geometry, int64_t tile, MakeVisit make_visit) {
  const int64_t tiles = divide_up(geometry.base_width, tile), height = geometry.base_height;
  torch::stable::parallel_for(0, geometry.slices() * tiles * height, 1, [&](int64_t begin, int64_t end) {
    auto visit = make_visit();
    while (begin < end) {
      const int64_t number = begin / height, first = number % tiles * tile;
      const int64_t stop = smaller(end, (number + 1) * height);
      visit(number / tiles, first, smaller(tile, geometry.base_width - first), begin - number * height, stop - number * height);
      begin = stop;
    }
  });
}

template <int64_t kValue>
using Constant = std::integral_constant<int64_t, kValue>;

// Call function(count, whether the outputs have the same source, kernel size or 0 for rare ones) with constants, for which
// the compiler unrolls the loops.
template <class Function>
void with_constants(const Geometry& geometry, int64_t count, Function function) {
  const auto with_size = [&](auto number, auto same_source) {
    if (geometry.size == 5) return function(number, same_source, Constant<5>());
    if (geometry.size == 3) return function(number, same_source, Constant<3>());
    function(number, same_source, Constant<0>());
  };
  const auto with_source = [&](auto number) {
    if (geometry.up == 1) return with_size(number, std::false_type());
    with_size(number, std::true_type());
  };
  if (count == kOutputs) return with_source(Constant<kOutputs>());
  if (count == 3) return with_source(Constant<3>());
  if (count == 2) return with_source(Constant<2>());
  with_source(Constant<1>());
}

template <class T>
struct Output {
  int64_t column;
  T* weights;
  T* values;
};

// Call function(outputs, their number) for up to kOutputs outputs of a row at a time.
template <class T, class Function>
void for_outputs(const Geometry& geometry, int64_t bases, OwnedRow<T>& weights, OwnedRow<T>& values, Function function) {
  Output<T> outputs[kOutputs];
  const int64_t owned = geometry.owned();
  const int64_t bases_at_once = owned == 1 ? kOutputs : 1;
  for (int64_t base = 0; base < bases; base += bases_at_once) {
    const int64_t number = owned == 1 ? smaller(kOutputs, bases - base) : owned;
    for (int64_t first = 0; first < number; first += kOutputs) {
      const int64_t count = smaller(kOutputs, number - first);
      for (int64_t n = 0; n < count; ++n) {
        const int64_t at = owned == 1 ? base + n : base, which = owned == 1 ? 0 : first + n;
        outputs[n] = {at * geometry.down, weights.at(at, which), values.at(at, which)};
      }
      function(outputs, count);
    }
  }
}

template <class T, int64_t kCount, bool kSameSource, int64_t kSize>
void gather(int64_t any_size, const T* const* rows, int64_t pitch, const Output<T>* outputs) {
  const int64_t size = kSize ? kSize : any_size;
  const int64_t first = outputs[0].column * pitch;
  const int64_t step = kSameSource || kCount == 1 ? 0 : (outputs[1].column - outputs[0].column) * pitch;
  for (int64_t channel = 0; channel < pitch; channel += 2 * kLength<T>) {
    Register<T> sums[kCount][2] = {};
    const T* weights[kCount];
    for (int64_t n = 0; n < kCount; ++n) weights[n] = outputs[n].weights;
    for (int64_t i = 0; i < size; ++i) {
      const T* at = rows[i] + first + channel;
      for (int64_t tap = 0; tap < size; ++tap, at += pitch) {
        for (int64_t n = 0; n < kCount; ++n) {
          sums[n][0] += register_at(at + n * step) * weights[n][tap];
          sums[n][1] += register_at(at + n * step + kLength<T>) * weights[n][tap];
        }
      }
      for (int64_t n = 0; n < kCount; ++n) weights[n] += size;
    }
    for (int64_t n = 0; n < kCount; ++n) {
      register_at(outputs[n].values + channel) = sums[n][0];
      register_at(outputs[n].values + channel + kLength<T>) = sums[n][1];
    }
  }
}

template <class T>
void forward(const Geometry& geometry, const Tensor& features, const Tensor& kernels, const Tensor& output) {
  const int64_t tile = tile_length<T>(geometry), taps = geometry.taps();
  for_each_tile(geometry, tile, [&] {
    return [&, rows = SourceRows<T>(geometry, tile), weights = OwnedRow<T>(geometry, tile, taps, taps),
            sums = OwnedRow<T>(geometry, tile, geometry.channels, round_up(geometry.channels, kLineLength<T>))](
               int64_t slice, int64_t first, int64_t bases, int64_t begin, int64_t end) mutable {
      const StridedMap source = geometry.slice(features, slice);
      const StridedMap kernel_map = geometry.slice(kernels, slice), target = geometry.slice(output, slice);
      rows.start_tile(source, first, bases);
      for (int64_t y = begin; y < end; ++y) {
        rows.advance_to(y);
        weights.start(kernel_map, y, first, bases);
        weights.load();
        sums.start(target, y, first, bases);
        for_outputs(geometry, bases, weights, sums, [&](const Output<T>* outputs, int64_t count) {
          with_constants(geometry, count, [&](auto number, auto same_source, auto size) {
            gather<T, number, same_source, size>(geometry.size, rows.all(), rows.pitch(), outputs);
          });
        });
        sums.store();
      }
    };
  });
}

// Products of `kTaps` source locations with `kCount` outputs, summed over the channels, into the outputs' weights.
template <class T, int64_t kCount, int64_t kTaps, bool kSameSource>
void correlate(const T* const* sources, int64_t pitch, int64_t first_tap, const Output<T>* outputs) {
  constexpr int64_t kProducts = (kCount * kTaps + 3) / 4 * 4;
  Register<T> products[kProducts] = {};
  for (int64_t channel = 0; channel < pitch; channel += kLength<T>) {
    for (int64_t n = 0; n < kCount; ++n) {
      const Register<T> value = register_at(outputs[n].values + channel);
      const int64_t shift = kSameSource ? 0 : (outputs[n].column - outputs[0].column) * pitch;
      for (int64_t t = 0; t < kTaps; ++t)
        products[n * kTaps + t] += value * register_at(sources[t] + shift + channel);
    }
  }
  T results[kProducts];
  for (int64_t first = 0; first < kProducts; first += 4) totals(products + first, results + first);
  for (int64_t n = 0; n < kCount; ++n)
    for (int64_t t = 0; t < kTaps; ++t) outputs[n].weights[first_tap + t] = results[n * kTaps + t];
}

template <class T, int64_t kCount, bool kSameSource>
void correlate_all(const Geometry& geometry, SourceRows<T>& rows, const T** sources, const Output<T>* outputs) {
  const int64_t pitch = rows.pitch(), size = geometry.size, taps = geometry.taps();
  for (int64_t tap = 0; tap < taps; ++tap) sources[tap] = rows.all()[tap / size] + (outputs[0].column + tap % size) * pitch;
  // Twelve products fit the registers, with three sources and one value.
  constexpr int64_t kTaps = kCount == 4 ? 3 : 8 / kCount;
  int64_t tap = 0;
  for (; tap + kTaps <= taps; tap += kTaps) correlate<T, kCount, kTaps, kSameSource>(sources + tap, pitch, tap, outputs);
  for (; tap < taps; ++tap) correlate<T, kCount, 1, kSameSource>(sources + tap, pitch, tap, outputs);
}

template <class T>
void kernels_backward(const Geometry& geometry, const Tensor& gradient, const Tensor& features, const Tensor& output) {
  const int64_t tile = tile_length<T>(geometry), taps = geometry.taps();
  for_each_tile(geometry, tile, [&] {
    return [&, rows = SourceRows<T>(geometry, tile), weights = OwnedRow<T>(geometry, tile, taps, taps),
            values = OwnedRow<T>(geometry, tile, geometry.channels, round_up(geometry.channels, kLineLength<T>)),
            sources = Scratch<const T*>(taps)](
               int64_t slice, int64_t first, int64_t bases, int64_t begin, int64_t end) mutable {
      const StridedMap source = geometry.slice(features, slice);
      const StridedMap gradient_map = geometry.slice(gradient, slice), target = geometry.slice(output, slice);
      rows.start_tile(source, first, bases);
      for (int64_t y = begin; y < end; ++y) {
        rows.advance_to(y);
        values.start(gradient_map, y, first, bases);
        values.load();
        weights.start(target, y, first, bases);
        for_outputs(geometry, bases, weights, values, [&](const Output<T>* outputs, int64_t count) {
          with_constants(geometry, count, [&](auto number, auto same_source, auto) {
            correlate_all<T, number, same_source>(geometry, rows, sources.data(), outputs);
          });
        });
        weights.store();
      }
    };
  });
}

// The sums of the source rows that are still open, (size, columns, pitch), for some lines of the channels.
template <class T>
class OpenRows {
 public:
  OpenRows(const Geometry& geometry, int64_t pitch)
      : geometry_(geometry),
        pitch_(pitch),
        columns_(geometry.source_width + geometry.size - 1),
        memory_(geometry.size * columns_ * pitch) {}

  T* row(int64_t y) { return memory_.data() + y % geometry_.size * columns_ * pitch_; }

  void close(int64_t y, const StridedMap& target, int64_t channels) {
    store_row(target, channels, y, 0, geometry_.source_width, row(y) + geometry_.border() * pitch_, pitch_);
    std::memset(row(y), 0, columns_ * pitch_ * sizeof(T));
  }

 private:
  const Geometry& geometry_;
  int64_t pitch_, columns_;
  Scratch<T> memory_;
};

template <class T, int64_t kCount, bool kSameSource, int64_t kSize>
void scatter(int64_t any_size, T* const* rows, int64_t pitch, const Output<T>* outputs) {
  const int64_t size = kSize ? kSize : any_size;
  const int64_t first = outputs[0].column * pitch;
  const int64_t step = kSameSource || kCount == 1 ? 0 : (outputs[1].column - outputs[0].column) * pitch;
  for (int64_t channel = 0; channel < pitch; channel += 2 * kLength<T>) {
    Register<T> values[kCount][2];
    for (int64_t n = 0; n < kCount; ++n) {
      values[n][0] = register_at(outputs[n].values + channel);
      values[n][1] = register_at(outputs[n].values + channel + kLength<T>);
    }
    for (int64_t i = 0; i < size; ++i) {
      if (!rows[i]) continue;
      T* at = rows[i] + first + channel;
      const T* weights[kCount];
      for (int64_t n = 0; n < kCount; ++n) weights[n] = outputs[n].weights + i * size;
      for (int64_t tap = 0; tap < size; ++tap, at += pitch) {
        if constexpr (kSameSource) {
          Register<T> sums[2] = {register_at(at), register_at(at + kLength<T>)};
          for (int64_t n = 0; n < kCount; ++n) {
            sums[0] += values[n][0] * weights[n][tap];
            sums[1] += values[n][1] * weights[n][tap];
          }
          register_at(at) = sums[0];
          register_at(at + kLength<T>) = sums[1];
        } else {
          for (int64_t n = 0; n < kCount; ++n) {
            register_at(at + n * step) += values[n][0] * weights[n][tap];
            register_at(at + n * step + kLength<T>) += values[n][1] * weights[n][tap];
          }
        }
      }
    }
  }
}

// The features' gradient of source rows [begin, end) and the channels of `target`, which `gradient` has too.
template <class T>
void features_backward_rows(
    const Geometry& geometry, const StridedMap& gradient, const StridedMap& kernels, const StridedMap& target,
    int64_t channels, int64_t begin, int64_t end) {
  const int64_t size = geometry.size, down = geometry.down, border = geometry.border(), taps = geometry.taps();
  const int64_t pitch = round_up(channels, kLineLength<T>);
  OpenRows<T> open(geometry, pitch);
  OwnedRow<T> weights(geometry, geometry.base_width, taps, taps), values(geometry, geometry.base_width, channels, pitch);
  Scratch<T*> rows(size);
  int64_t base_row = larger(0, divide_up(begin - border, down));
  for (int64_t y = begin; y < end; ++y) {
    for (; base_row < geometry.base_height && base_row * down - border <= y; ++base_row) {
      for (int64_t i = 0; i < size; ++i) {
        const int64_t touched = base_row * down - border + i;
        rows.data()[i] = touched >= y && touched < end ? open.row(touched) : nullptr;
      }
      weights.start(kernels, base_row, 0, geometry.base_width);
      weights.load();
      values.start(gradient, base_row, 0, geometry.base_width);
      values.load();
      for_outputs(geometry, geometry.base_width, weights, values, [&](const Output<T>* outputs, int64_t count) {
        with_constants(geometry, count, [&](auto number, auto same_source, auto constant_size) {
          scatter<T, number, same_source, constant_size>(size, rows.data(), pitch, outputs);
        });
      });
    }
    open.close(y, target, channels);
  }
}

template <class T>
void features_backward(const Geometry& geometry, const Tensor& gradient, const Tensor& kernels, const Tensor& output) {
  const int64_t lines = divide_up(geometry.channels, kLineLength<T>);
  // Neighbouring chunks of rows repeat the sums of the rows between them, so there are only as many as threads need.
  const int64_t wanted = divide_up(torch::stable::get_num_threads(), geometry.slices() * lines);
  const int64_t chunks = larger(1, smaller(wanted, geometry.source_height / (4 * geometry.size)));
  torch::stable::parallel_for(0, geometry.slices() * chunks * lines, 1, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t number = begin / lines, slice = number / chunks, chunk = number % chunks;
      const int64_t stop = smaller(end, (number + 1) * lines);
      const int64_t first = (begin - number * lines) * kLineLength<T>;
      const int64_t last = smaller(geometry.channels, (stop - number * lines) * kLineLength<T>);
      const StridedMap target = geometry.slice(output, slice), source = geometry.slice(gradient, slice);
      features_backward_rows<T>(
          geometry, source.moved(first * source.channel_stride), geometry.slice(kernels, slice),
          target.moved(first * target.channel_stride), last - first, geometry.source_height * chunk / chunks,
          geometry.source_height * (chunk + 1) / chunks);
      begin = stop;
    }
  });
}

// Half precision is summed in float32.
template <class Function>
void with_accumulation_type(const Tensor& tensor, Function function) {
  if (tensor.scalar_type() == ScalarType::Double) return function(double());
  function(float());
}

void reassemble(Tensor features, Tensor kernels, Tensor output, int64_t up, int64_t down, int64_t groups) {
  const Geometry geometry(features, output, kernels, up, down, groups);
  with_accumulation_type(features, [&](auto type) { forward<decltype(type)>(geometry, features, kernels, output); });
}

void reassemble_features_gradient(Tensor gradient, Tensor kernels, Tensor output, int64_t up, int64_t down, int64_t groups) {
  const Geometry geometry(output, gradient, kernels, up, down, groups);
  with_accumulation_type(
      gradient, [&](auto type) { features_backward<decltype(type)>(geometry, gradient, kernels, output); });
}

void reassemble_kernels_gradient(Tensor gradient, Tensor features, Tensor output, int64_t up, int64_t down, int64_t groups) {
  const Geometry geometry(features, gradient, output, up, down, groups);
  with_accumulation_type(
      gradient, [&](auto type) { kernels_backward<decltype(type)>(geometry, gradient, features, output); });
}

}  // namespace
}  // namespace feature_pyramids

STABLE_TORCH_LIBRARY_FRAGMENT(feature_pyramids_cpu, library) {
  library.def("reassemble(Tensor features, Tensor kernels, Tensor(a!) output, int up, int down, int groups) -> ()");
  library.def(
      "reassemble_features_gradient(Tensor gradient, Tensor kernels, Tensor(a!) output, int up, int down, int groups) -> ()");
  library.def(
      "reassemble_kernels_gradient(Tensor gradient, Tensor features, Tensor(a!) output, int up, int down, int groups) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(feature_pyramids_cpu, CPU, library) {
  library.impl("reassemble", TORCH_BOX(&feature_pyramids::reassemble));
  library.impl("reassemble_features_gradient", TORCH_BOX(&feature_pyramids::reassemble_features_gradient));
  library.impl("reassemble_kernels_gradient", TORCH_BOX(&feature_pyramids::reassemble_kernels_gradient));
}
