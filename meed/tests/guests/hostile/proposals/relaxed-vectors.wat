;; refused: does-not-compile, says relaxed SIMD
;; Their results may differ between processors.
;; in items
(func (result v128) (f32x4.relaxed_madd (v128.const i64x2 0 0) (v128.const i64x2 0 0) (v128.const i64x2 0 0)))
