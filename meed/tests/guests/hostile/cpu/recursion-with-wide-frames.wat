;; fails: stack-overflow in evaluate
;; Each frame has a hundred values that are live across the call: few calls, much stack.
;; in items
(func $wide (param i64) (result i64)
  (i64.mul (local.get 0) (i64.const 3)) (i64.mul (local.get 0) (i64.const 4)) (i64.mul (local.get 0) (i64.const 5)) (i64.mul (local.get 0) (i64.const 6))
  (i64.mul (local.get 0) (i64.const 11)) (i64.mul (local.get 0) (i64.const 12)) (i64.mul (local.get 0) (i64.const 13)) (i64.mul (local.get 0) (i64.const 14))
  (i64.mul (local.get 0) (i64.const 19)) (i64.mul (local.get 0) (i64.const 20)) (i64.mul (local.get 0) (i64.const 21)) (i64.mul (local.get 0) (i64.const 22))
  (i64.mul (local.get 0) (i64.const 27)) (i64.mul (local.get 0) (i64.const 28)) (i64.mul (local.get 0) (i64.const 29)) (i64.mul (local.get 0) (i64.const 30))
  (i64.mul (local.get 0) (i64.const 35)) (i64.mul (local.get 0) (i64.const 36)) (i64.mul (local.get 0) (i64.const 37)) (i64.mul (local.get 0) (i64.const 38))
  (i64.mul (local.get 0) (i64.const 43)) (i64.mul (local.get 0) (i64.const 44)) (i64.mul (local.get 0) (i64.const 45)) (i64.mul (local.get 0) (i64.const 46))
  (i64.mul (local.get 0) (i64.const 51)) (i64.mul (local.get 0) (i64.const 52)) (i64.mul (local.get 0) (i64.const 53)) (i64.mul (local.get 0) (i64.const 54))
  (i64.mul (local.get 0) (i64.const 59)) (i64.mul (local.get 0) (i64.const 60)) (i64.mul (local.get 0) (i64.const 61)) (i64.mul (local.get 0) (i64.const 62))
  (i64.mul (local.get 0) (i64.const 67)) (i64.mul (local.get 0) (i64.const 68)) (i64.mul (local.get 0) (i64.const 69)) (i64.mul (local.get 0) (i64.const 70))
  (i64.mul (local.get 0) (i64.const 75)) (i64.mul (local.get 0) (i64.const 76)) (i64.mul (local.get 0) (i64.const 77)) (i64.mul (local.get 0) (i64.const 78))
  (i64.mul (local.get 0) (i64.const 83)) (i64.mul (local.get 0) (i64.const 84)) (i64.mul (local.get 0) (i64.const 85)) (i64.mul (local.get 0) (i64.const 86))
  (i64.mul (local.get 0) (i64.const 91)) (i64.mul (local.get 0) (i64.const 92)) (i64.mul (local.get 0) (i64.const 93)) (i64.mul (local.get 0) (i64.const 94))
  (i64.mul (local.get 0) (i64.const 99)) (i64.mul (local.get 0) (i64.const 100)) (i64.mul (local.get 0) (i64.const 101)) (i64.mul (local.get 0) (i64.const 102))
  (i64.mul (local.get 0) (i64.const 107)) (i64.mul (local.get 0) (i64.const 108)) (i64.mul (local.get 0) (i64.const 109)) (i64.mul (local.get 0) (i64.const 110))
  (i64.mul (local.get 0) (i64.const 115)) (i64.mul (local.get 0) (i64.const 116)) (i64.mul (local.get 0) (i64.const 117)) (i64.mul (local.get 0) (i64.const 118))
  (i64.mul (local.get 0) (i64.const 123)) (i64.mul (local.get 0) (i64.const 124)) (i64.mul (local.get 0) (i64.const 125)) (i64.mul (local.get 0) (i64.const 126))
  (i64.mul (local.get 0) (i64.const 131)) (i64.mul (local.get 0) (i64.const 132)) (i64.mul (local.get 0) (i64.const 133)) (i64.mul (local.get 0) (i64.const 134))
  (i64.mul (local.get 0) (i64.const 139)) (i64.mul (local.get 0) (i64.const 140)) (i64.mul (local.get 0) (i64.const 141)) (i64.mul (local.get 0) (i64.const 142))
  (i64.mul (local.get 0) (i64.const 147)) (i64.mul (local.get 0) (i64.const 148)) (i64.mul (local.get 0) (i64.const 149)) (i64.mul (local.get 0) (i64.const 150))
  (i64.mul (local.get 0) (i64.const 155)) (i64.mul (local.get 0) (i64.const 156)) (i64.mul (local.get 0) (i64.const 157)) (i64.mul (local.get 0) (i64.const 158))
  (i64.mul (local.get 0) (i64.const 163)) (i64.mul (local.get 0) (i64.const 164)) (i64.mul (local.get 0) (i64.const 165)) (i64.mul (local.get 0) (i64.const 166))
  (i64.mul (local.get 0) (i64.const 171)) (i64.mul (local.get 0) (i64.const 172)) (i64.mul (local.get 0) (i64.const 173)) (i64.mul (local.get 0) (i64.const 174))
  (i64.mul (local.get 0) (i64.const 179)) (i64.mul (local.get 0) (i64.const 180)) (i64.mul (local.get 0) (i64.const 181)) (i64.mul (local.get 0) (i64.const 182))
  (i64.mul (local.get 0) (i64.const 187)) (i64.mul (local.get 0) (i64.const 188)) (i64.mul (local.get 0) (i64.const 189)) (i64.mul (local.get 0) (i64.const 190))
  (i64.mul (local.get 0) (i64.const 195)) (i64.mul (local.get 0) (i64.const 196)) (i64.mul (local.get 0) (i64.const 197)) (i64.mul (local.get 0) (i64.const 198))
  (call $wide (i64.add (local.get 0) (i64.const 1)))
  i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor
  i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor
  i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor
  i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor
  i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor
  i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor
  i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor
  i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor
  i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor
  i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor i64.xor)
;; in evaluate
(drop (call $wide (i64.const 0)))
