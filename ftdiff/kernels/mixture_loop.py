"""The loop around the steps of a mix: what is carried, and the way through a step in doubt."""

LOOP = """
declare double @llvm.vector.reduce.fadd.v{half}f64(double, {real})
declare double @llvm.vector.reduce.fmax.v{half}f64({real})
declare double @llvm.vector.reduce.fmin.v{half}f64({real})
declare {real} @llvm.fabs.v{half}f64({real})
declare {real} @llvm.fma.v{half}f64({real}, {real}, {real})
declare double @llvm.fabs.f64(double)
declare {bits} @llvm.smax.v{half}i64({bits}, {bits})
declare {word} @llvm.smax.v{lanes}i32({word}, {word})
declare i{half} @llvm.ctpop.i{half}(i{half})
declare i{lanes} @llvm.ctpop.i{lanes}(i{lanes})
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
define void @mixture(ptr %sides, i64 %steps, ptr %numbers, ptr %change, double %most,
                     double %weight, ptr %sums, ptr %counts, ptr %ends) {{
entry:
{top}
  %ends.1 = getelementptr double, ptr %ends, i64 1
  br label %step
step:
  %t = phi i64 [ 0, %entry ], [ %t.next, %next ]
  %moved = phi i64 [ 0, %entry ], [ %moved.next, %next ]
  %equal = phi i64 [ 0, %entry ], [ %equal.next, %next ]
  %right = phi i64 [ 0, %entry ], [ %right.next, %next ]
{phis}
  %low = load double, ptr %ends, align 8
  %high = load double, ptr %ends.1, align 8
  %low.size = call double @llvm.fabs.f64(double %low)
  %high.size = call double @llvm.fabs.f64(double %high)
  %low.far = fcmp ugt double %low.size, %most
  %high.far = fcmp ugt double %high.size, %most
  %far = or i1 %low.far, %high.far
  %low.past = fcmp ugt double %low, %weight
  %high.past = fcmp ult double %high, %weight
  %past = or i1 %low.past, %high.past
  %outside = or i1 %far, %past
{spread}
{body}
  br i1 {doubt}, label %decide, label %next
decide:
{slow}
  store double {low}, ptr %ends, align 8
  store double {high}, ptr %ends.1, align 8
  br label %next
next:
  %right.more = phi i64 [ {near}, %step ], [ {right}, %decide ]
  %moved.next = add i64 %moved, {moved}
  %equal.next = add i64 %equal, {equal}
  %right.next = add i64 %right, %right.more
  %t.next = add i64 %t, 1
  %more = icmp ult i64 %t.next, %steps
  br i1 %more, label %step, label %end
end:
{end}
  ret void
}}
"""
