'''The words for the statements of captions.py, as one table.

A block is a statement's name (`s_` either side) and its phrases:
    V  what one does, verbs starred: "*raise <arm>"       S  a part and its state: "<arm> : raised | up"
    N  a pose's name that one is *in*: "lunge | deep lunge"    X  a whole caption: "hands up, don't shoot"
[a|b] is either word; <arm|hand> the body part of that side with its owner ("your left arm", or "both arms" when the two sides are said at
once); <=hip> the same side's part, named a second time without its side; <o:knee> the other side's part; {p} a possessive or "the";
{L} the side; {self} yourself, himself ...
'''

PHRASES = """
s_elbow_straight
V *straighten <elbow|arm>
V *[keep|hold|have] <arm|elbow> [straight|unbent|fully extended]
V *extend <arm> [fully|completely]
S <arm|elbow> : straight | straightened | fully extended | not bent | completely straight
s_elbow_slightly_bent
V *bend <elbow|arm> [slightly|a little|a bit|only a little]
V *keep <elbow|arm> [slightly|a little] bent
S <elbow|arm> : slightly bent | a little bent | bent a little | softly bent | almost straight
s_elbow_bent
V *[bend|flex] <elbow|arm>
V *[keep|hold|have] <elbow|arm> bent
S <elbow|arm> : bent | flexed | clearly bent | well bent
s_elbow_square
V *bend <elbow|arm> [at a right angle|to 90 degrees|at 90 degrees|to a right angle|in an L shape]
S <elbow|arm> : bent at a right angle | at a right angle | at 90 degrees | bent at 90 degrees | in an L shape
s_elbow_fully_bent
V *bend <elbow|arm> [fully|completely|sharply|tightly|as far as it goes|all the way]
V *fold <arm|forearm> up tightly
S <elbow|arm> : fully bent | completely bent | sharply bent | tightly folded | bent all the way
s_knee_straight
V *straighten <knee|leg>
V *[keep|hold|have] <knee|leg> [straight|extended|unbent]
V *extend <leg>
S <knee|leg> : straight | extended | straightened | not bent | stretched
s_knee_slightly_bent
V *bend <knee|leg> [slightly|a little|a bit|just a bit]
V *keep <knee|leg> [slightly|a little] bent
S <knee|leg> : slightly bent | a little bent | bent a little | softly bent
s_knee_bent
V *[bend|flex] <knee|leg>
V *[keep|hold|have] <knee|leg> bent
S <knee|leg> : bent | flexed | clearly bent | well bent
s_knee_square
V *bend <knee|leg> [at a right angle|to 90 degrees|at 90 degrees|to a right angle]
S <knee|leg> : bent at a right angle | at a right angle | at 90 degrees | bent at 90 degrees
s_knee_fully_bent
V *bend <knee|leg> [fully|completely|sharply|tightly|all the way]
V *fold <leg> up tightly
S <knee|leg> : fully bent | completely bent | sharply bent | tightly folded | bent all the way
hands_together
V *[put|bring|hold|press] {p} [hands|palms] together
V *join {p} hands
V *clasp {p} hands
S {p} [hands|palms] : together | touching | touching each other | joined | clasped | close together
hands_shoulder_width
V *[keep|hold|have] {p} hands [shoulder width apart|as far apart as {p} shoulders|about shoulder width apart]
S {p} hands : shoulder width apart | about shoulder width apart | as far apart as {p} shoulders | at shoulder width | a shoulder width apart
hands_wide_apart
V *[hold|spread|keep] {p} [hands|arms] [wide apart|far apart|wide]
V *spread {p} arms
V *open {p} arms wide
S {p} [hands|arms] : wide apart | far apart | spread wide | spread | spread far apart | wide open
feet_together
V *[put|keep|bring|place] {p} feet [together|close together|side by side]
V *[stand|stay] with {p} feet [together|close together]
S {p} feet : together | close together | side by side | touching | next to each other
X feet together
feet_shoulder_width
V *[put|keep|place|set] {p} feet [shoulder width apart|hip width apart|about shoulder width apart]
V *stand with {p} feet [shoulder width apart|a shoulder width apart]
S {p} feet : shoulder width apart | about shoulder width apart | hip width apart | as wide as the shoulders | at shoulder width | a shoulder width apart
feet_wide_apart
V *[put|place|set|keep|spread] {p} feet [wide apart|far apart]
V *spread {p} legs [|wide]
V *stand with {p} [feet|legs] [wide apart|far apart|spread|spread wide]
V *take a wide stance
S {p} [feet|legs] : wide apart | far apart | spread | spread wide | apart
N wide stance | straddle stance
X legs apart | feet wide apart
knees_together
V *[press|keep|hold|bring|squeeze] {p} knees together
S {p} knees : together | touching | close together | pressed together | side by side
knees_apart
V *[spread|push|open] {p} knees [apart|wide|wide apart]
V *[keep|hold] {p} knees [apart|wide apart|far apart]
S {p} knees : apart | wide apart | spread | far apart | spread wide
elbows_close
V *[bring|keep|hold] {p} elbows [close together|together|close]
S {p} elbows : close together | near each other | close to each other | almost touching | drawn together
s_hand_on_shoulder
V *[put|place|rest|lay] <hand|palm> on {p} <s:shoulder>
V *touch {p} <s:shoulder> with <hand>
S <hand|palm> : on {p} <s:shoulder> | touching {p} <s:shoulder> | resting on {p} <s:shoulder> | near {p} <s:shoulder> | at {p} <s:shoulder>
s_hand_on_o_shoulder
V *[put|place|rest|lay] <hand|palm> on <o:shoulder>
V *[touch|hold|grab] <o:shoulder> with <hand>
S <hand|palm> : on <o:shoulder> | resting on <o:shoulder> | touching <o:shoulder> | holding <o:shoulder> | near <o:shoulder>
s_hand_on_o_elbow
V *[put|place|rest] <hand> on <o:elbow>
V *[touch|hold|grab] <o:elbow> with <hand>
S <hand> : on <o:elbow> | at <o:elbow> | touching <o:elbow> | holding <o:elbow> | near <o:elbow>
s_hand_on_hip
V *[put|place|rest|keep|hold] <hand|palm|fist> on {p} <=hip>
V *[put|rest] <hand> on {p} waist
S <hand|palm|fist> : on {p} <=hip> | resting on {p} <=hip> | at {p} waist | on {p} waist | placed on {p} <=hip>
s_hand_on_thigh
V *[put|place|rest|lay] <hand|palm> on {p} <=thigh>
V *[rest|lay] <hand> in {p} lap
S <hand|palm> : on {p} <=thigh> | resting on {p} <=thigh> | lying on {p} <=thigh> | in {p} lap | on {p} lap
s_hand_on_knee
V *[put|place|rest|lay] <hand|palm> on {p} <=knee>
V *[touch|hold|grab] {p} <=knee> with <hand>
S <hand|palm> : on {p} <=knee> | resting on {p} <=knee> | touching {p} <=knee> | at {p} <=knee> | placed on {p} <=knee>
s_hand_on_o_knee
V *[put|place|rest|lay] <hand|palm> on <o:knee>
V *[touch|hold|grab] <o:knee> with <hand>
S <hand|palm> : on <o:knee> | resting on <o:knee> | touching <o:knee> | at <o:knee> | near <o:knee>
s_hand_on_foot
V *[touch|hold|grab|reach] {p} <=foot> with <hand>
V *[put|bring] <hand> [to|on] {p} <=foot>
S <hand> : on {p} <=foot> | touching {p} <=foot> | at {p} <=foot> | near {p} <=foot> | holding {p} <=foot>
s_hand_on_o_foot
V *[touch|hold|grab|reach] <o:foot> with <hand>
V *[put|bring] <hand> to <o:foot>
S <hand> : on <o:foot> | touching <o:foot> | at <o:foot> | near <o:foot> | holding <o:foot>
s_hand_on_ankle
V *[touch|hold|grab] {p} <=ankle> with <hand>
V *[put|bring] <hand> [to|on] {p} <=ankle>
S <hand> : on {p} <=ankle> | touching {p} <=ankle> | at {p} <=ankle> | near {p} <=ankle> | holding {p} <=ankle>
s_hand_on_head
V *[put|place|rest|lay|hold] <hand|palm> on {p} head
V *[put|rest] <hand> on top of {p} head
V *touch {p} head with <hand>
S <hand|palm> : on {p} head | on top of {p} head | resting on {p} head | touching {p} head | placed on {p} head
s_hand_at_mouth
V *[put|bring|hold|raise] <hand> [to|at] {p} [mouth|chin|face|lips]
V *[cover|touch] {p} [mouth|chin|face] with <hand>
S <hand> : at {p} mouth | at {p} chin | on {p} chin | near {p} face | touching {p} face | in front of {p} mouth
s_hand_at_ear
V *[put|bring|hold|raise] <hand> [to|at] {p} [ear|temple]
V *touch {p} [ear|temple] with <hand>
V *[put|hold] <hand> to the side of {p} head
S <hand> : at {p} ear | at {p} temple | at the side of {p} head | near {p} ear | touching the side of {p} head | beside {p} head
s_hand_behind_head
V *[put|place|hold] <hand> behind {p} [head|neck]
V *[put|hold] <hand> at the back of {p} [head|neck]
S <hand> : behind {p} head | at the back of {p} head | behind {p} neck | on the back of {p} head | on the back of {p} neck
s_hand_on_chest
V *[put|place|lay|hold|rest] <hand|palm> [on|to|over] {p} [chest|heart]
V *touch {p} chest with <hand>
S <hand|palm> : on {p} chest | over {p} heart | at {p} chest | resting on {p} chest | touching {p} chest | in front of {p} chest
X hand on {L} side of the chest
s_hand_on_belly
V *[put|place|lay|hold|rest] <hand|palm> [on|over] {p} [belly|stomach|tummy]
V *[touch|hold] {p} [belly|stomach] with <hand>
S <hand|palm> : on {p} belly | on {p} stomach | over {p} stomach | resting on {p} belly | at {p} stomach
s_hand_behind_back
V *[put|place|hold|hide|keep] <hand> behind {p} back
V *hold <hand> [at|on] {p} [lower|] back
S <hand> : behind {p} back | on {p} back | hidden behind {p} back | held behind {p} back | at {p} lower back
s_elbow_on_knee
V *[put|place|rest|lean] <elbow> on {p} <=knee>
V *touch {p} <=knee> with <elbow>
S <elbow> : on {p} <=knee> | resting on {p} <=knee> | touching {p} <=knee> | near {p} <=knee> | at {p} <=knee>
s_elbow_to_o_knee
V *[bring|put] <elbow> to <o:knee>
V *touch <o:knee> with <elbow>
S <elbow> : at <o:knee> | touching <o:knee> | near <o:knee> | on <o:knee> | close to <o:knee>
s_foot_at_o_knee
V *[put|place|rest|bring|hold] <foot> [on|at|against] <o:knee>
V *[put|bring] <ankle> to <o:knee>
S <foot|ankle> : at <o:knee> | against <o:knee> | near <o:knee> | resting on <o:knee> | beside <o:knee>
s_heel_to_seat
V *[pull|bring|kick|lift] <heel|foot> [up to|towards] {p} [bottom|buttocks|behind]
S <heel|foot> : pulled up behind | close to {p} bottom | near {p} buttocks | drawn up to {p} bottom | pulled up to {p} behind
s_arm_raised
V *[raise|lift|put up|hold up] <arm|hand>
V *[put|hold|throw] <arm|hand> [up|in the air|up in the air|into the air]
V *[raise|lift] <arm|hand> [high|up high|in the air]
S <arm|hand> : raised | up | in the air | lifted | up in the air | raised in the air | held up
X <arm> up | raise <arm> | <hand> up
s_hand_above_head
V *[raise|lift|hold|put|bring|stretch] <hand|arm> [above|over|high above] {p} head
V *reach [above|over] {p} head with <hand>
S <hand|arm> : above {p} head | over {p} head | high above {p} head | overhead | raised over {p} head | higher than {p} head
s_hand_at_head_height
V *[hold|raise|bring|lift] <hand> [at|to] [head height|eye level|the height of {p} head|face height]
S <hand> : at head height | at the height of {p} head | level with {p} head | as high as {p} head | at eye level
s_hand_at_shoulder_height
V *[hold|raise|bring|lift] <hand> [at|to] [shoulder height|shoulder level|the height of {p} shoulders]
S <hand> : at shoulder height | at the height of {p} shoulders | level with {p} shoulders | as high as {p} shoulders | at shoulder level
s_hand_at_waist_height
V *[hold|keep|bring] <hand> at [waist height|belly height|waist level|the height of {p} waist]
S <hand> : at waist height | at the height of {p} waist | level with {p} waist | as high as {p} belly | at waist level
s_hand_below_knee
V *[hold|lower|bring|stretch] <hand> [below|down below|lower than] {p} <=knee>
V *reach down below {p} <=knee> with <hand>
S <hand> : below {p} <=knee> | lower than {p} <=knee> | down below {p} <=knee> | under {p} <=knee> | further down than {p} <=knee>
s_hand_in_front
V *[hold|put|bring|stretch] <hand> [far|well|out] in front of {p} [body|chest]
V *reach [forward|forwards|out in front] with <hand>
S <hand> : in front of {p} body | far in front of {p} body | out in front | well in front of {p} chest | reaching forward
s_hand_behind
V *[hold|put|bring|keep] <hand> behind {p} [body|hips]
V *reach [back|backwards|behind {self}] with <hand>
S <hand> : behind {p} body | behind {p} hips | back behind {p} body | reaching backwards | reaching behind
s_hand_across
V *[bring|reach|hold|swing] <hand|arm> across {p} [body|chest]
V *[put|bring] <hand> to the other side of {p} body
S <hand|arm> : across {p} body | on the other side of {p} body | reaching across {p} body | crossing {p} body | crossed over to the other side
s_hand_far_out
V *[hold|stretch|reach|put] <hand> far out to the side
V *reach [far out|far|out] to the side with <hand>
S <hand> : far out to the side | far from {p} body | out at the side | well away from {p} body | reaching far out to the side
s_hand_above_o_hand
V *[hold|raise|put|keep] <hand> [higher than|above|well above] the {O} [one|hand]
S <hand> : higher than the {O} | above the {O} one | above <o:hand> | higher than <o:hand> | well above <o:hand>
s_hand_before_o_hand
V *[hold|put|bring|push] <hand> [ahead of|in front of|further forward than] the {O} [one|hand]
S <hand> : in front of <o:hand> | ahead of <o:hand> | further forward than <o:hand> | ahead of the {O} one | in front of the {O} one
s_elbow_raised
V *[raise|lift|hold] <elbow> [above {p} shoulder|above shoulder height|higher than {p} shoulder]
S <elbow> : above shoulder height | higher than {p} shoulder | above {p} shoulder | raised above the shoulder | lifted above {p} shoulders
s_foot_ahead
V *[put|place|set|bring] <foot|leg> [forward|in front|in front of the other|in front of the {O} one|ahead of the other]
V *step forward with <foot|leg>
V *take a step [|forward] with <foot>
S <foot|leg> : in front | forward | ahead of the {O} | in front of the other | in front of <o:foot> | ahead
X <foot> forward | <leg> in front
feet_crossed
V *cross {p} [legs|feet|ankles]
V *[put|cross] one [foot|leg] over the other
V *[stand|stay] with {p} [legs|feet|ankles] crossed
S {p} [legs|feet|ankles] : crossed | crossed over each other | crossing each other | crossed over | in a cross
X legs crossed | crossed legs | crossed feet
s_foot_lifted
V *[lift|raise] <foot|leg> [|off the floor|off the ground|from the floor]
V *[hold|put|keep] <foot|leg> [up|in the air]
S <foot|leg> : lifted | raised | off the floor | in the air | off the ground | up
X <leg> up | <foot> up | <foot> off the ground
s_knee_ahead
V *[put|bring|push] <knee> [forward|in front of the other|ahead of the other knee]
S <knee> : in front of <o:knee> | ahead of <o:knee> | forward | in front of the other | further forward than <o:knee>
s_knee_above_hip
V *[raise|lift|pull|bring] <knee> [above {p} hips|higher than {p} hips|above hip height]
S <knee> : above hip height | higher than {p} hips | above {p} hips | up above {p} hips | raised above the hips
s_arm_down
V *[let|have] <arm> hang [down|]
V *[keep|hold|put] <arm|hand> down
V *lower <arm>
S <arm> : down | hanging down | hanging | lowered | hanging at {p} side | at {p} side | by {p} side
X <arm> down
s_arm_straight_up
V *[stretch|raise|reach|hold|extend|put|lift] <arm> [straight up|vertically|straight up into the air|straight up over {p} head]
V *reach [straight up|for the sky|for the ceiling|up high] with <arm|hand>
V *point <arm> [straight up|at the sky|at the ceiling]
S <arm> : straight up | stretched straight up | stretched up | pointing straight up | vertical and stretched | raised straight up
X <arm> straight up | reach for the sky
s_arm_forward
V *[stretch|hold|extend|reach|put] <arm> [out|straight|straight out|] [forward|forwards|in front|in front of {p} body|to the front]
V *[stretch|hold] out <arm> [in front|in front of {p} chest]
V *point <arm> [forward|forwards|straight ahead]
S <arm> : stretched forward | straight out in front | stretched out in front | extended forward | straight forward | held out in front | pointing forward
X <arm> straight out in front | <arm> forward | <arm> in front
s_arm_sideways
V *[stretch|hold|extend|put] <arm> [out|straight out] [to the side|sideways]
V *[stretch|spread|hold] out <arm> [to the side|sideways]
V *raise <arm> [to the side|sideways]
S <arm> : stretched out to the side | out to the side | straight out to the side | extended sideways | stretched sideways | held out sideways | out sideways
X <arm> out to the side | <arm> out
s_arm_back
V *[stretch|hold|extend|swing|reach|put] <arm> [back|backwards|out behind|back behind {self}]
S <arm> : stretched back | stretched out behind | extended backwards | straight back | swung back | pointing backwards
X <arm> back | <arm> stretched out behind
s_arm_past_head
V *[stretch|reach|extend] <arm> [out past {p} head|out beyond {p} head|out ahead of {p} head]
S <arm> : stretched out past {p} head | stretched beyond {p} head | reaching past {p} head | extended past {p} head | stretched ahead of {p} head
s_arm_up_diagonal
V *[stretch|raise|hold|reach|point] <arm> [diagonally up|up diagonally|diagonally upwards|up at an angle|obliquely upwards]
S <arm> : stretched diagonally up | diagonally up | pointing diagonally upwards | raised at an angle | stretched up at an angle
s_arm_down_diagonal
V *[stretch|hold|point|keep] <arm> [diagonally down|down and out|diagonally downwards|a little away from {p} body]
S <arm> : stretched diagonally down | diagonally down | pointing diagonally downwards | away from {p} body | down and out | slightly out to the side
s_upperarm_level
V *[raise|hold|lift] <upper arm> [horizontally|to the horizontal|level with the floor]
S <upper arm> : horizontal | level | parallel to the floor | held horizontally | at shoulder height
s_elbow_out
V *[push|point|stick|hold|lift] <elbow> out [to the side|sideways]
S <elbow> : out to the side | pointing out to the side | pushed out sideways | lifted out sideways | sticking out sideways
s_elbow_back
V *[pull|push|draw|drive] <elbow> [back|backwards|behind {self}]
S <elbow> : pulled back | drawn back | pointing backwards | back | behind {p} body
s_forearm_level
V *[hold|keep] <forearm|lower arm> [horizontal|level|parallel to the floor|horizontally]
S <forearm|lower arm> : horizontal | level | parallel to the floor | held horizontally | parallel to the ground
s_forearm_up
V *[point|hold|raise] <forearm|lower arm> [straight up|vertically|upright]
S <forearm|lower arm> : vertical | pointing straight up | straight up | upright | held upright
s_forearm_down
V *[point|let|have] <forearm|lower arm> hang straight down
V *[hold|keep|point] <forearm|lower arm> straight down
S <forearm|lower arm> : pointing straight down | hanging straight down | straight down | pointing at the floor | vertical and down
s_thigh_level
V *[hold|keep|bring] <thigh|upper leg> [horizontal|level|parallel to the floor]
S <thigh|upper leg> : horizontal | level | parallel to the floor | parallel to the ground | held level
s_shin_level
V *[hold|keep|bring] <shin|lower leg> [horizontal|level|parallel to the floor]
S <shin|lower leg> : horizontal | level | parallel to the floor | parallel to the ground | lying level
s_leg_forward
V *[stretch|raise|lift|extend|hold|kick] <leg> [forward|forwards|out in front|up in front|straight out in front]
S <leg> : stretched forward | raised in front | lifted forward | extended in front | straight out in front | up in front
X <leg> up in front | <leg> out in front
s_leg_sideways
V *[stretch|raise|lift|extend|hold|kick] <leg> [to the side|sideways|out to the side]
S <leg> : stretched to the side | raised sideways | lifted to the side | extended sideways | out to the side
X <leg> out to the side
s_leg_back
V *[stretch|raise|lift|extend|hold|kick] <leg> [back|backwards|behind|out behind]
S <leg> : stretched back | raised behind | lifted backwards | extended behind | out behind | stretched out behind
X <leg> out behind | <leg> back
s_knee_raised
V *[raise|lift|pull up|bring up|hold up] <knee>
V *[raise|lift|pull|bring] <knee> [up|high|up high|up in front]
S <knee> : raised | up | lifted | pulled up | raised in front | lifted high
X <knee> up | raise <knee> | high <knee>
torso_upright
V *[keep|hold] {p} [back|torso|upper body|trunk] [straight|upright|vertical]
V *stay upright
V *straighten {p} back
S {p} [back|torso|upper body|trunk] : upright | straight | vertical | held upright | straight up
torso_leaning_forward
V *lean [forward|forwards|a little forward|slightly forward]
V *[lean|tilt|incline] {p} [torso|upper body|trunk] [forward|forwards]
S {p} [torso|upper body|trunk|body] : leaning forward | tilted forward | inclined forwards | leaning forwards | slightly forward
X leaning forward | lean forward
torso_bent_forward
V *bend [forward|over|forwards|down|over forward] [|at the waist|at the hips|deeply]
V *bend {p} [torso|upper body|trunk|back] [forward|down|over]
V *stoop
S {p} [torso|upper body|trunk|back] : bent forward | bent over | bent down | bent far forward | bowed deeply forward
X bending forward | bent over | bend over | bending down
torso_level
V *[hold|keep|bring] {p} [torso|upper body|trunk|back] [horizontal|level|parallel to the floor]
S {p} [torso|upper body|trunk|back] : horizontal | level | parallel to the floor | parallel to the ground | flat
torso_leaning_back
V *lean [back|backwards|backward]
V *[lean|tilt|bend|arch] {p} [torso|upper body|trunk|back] [back|backwards]
S {p} [torso|upper body|trunk|body] : leaning back | tilted back | leaning backwards | bent backwards | inclined backwards
X leaning back | lean back
torso_leaning_s
V *[lean|bend|tilt] [to the {L}|over to the {L}|sideways to the {L}|to {p} {L}]
V *[lean|tilt|bend] {p} [torso|upper body|trunk] to [the|{p}] {L}
S {p} [torso|upper body|trunk|body] : leaning to the {L} | tilted to the {L} | bent to the {L} | bent sideways to the {L} | leaning over to the {L}
X leaning {L} | lean to the {L} | side bend to the {L}
torso_twisted_s
V *[turn|twist|rotate] {p} [torso|upper body|trunk|shoulders] to [the|{p}] {L}
V *twist to [the|{p}] {L}
S {p} [torso|upper body|trunk] : turned to the {L} | twisted to the {L} | rotated to the {L} | turned towards the {L} | twisted round to the {L}
X twisting {L} | twist to the {L}
head_bowed
V *[bow|lower|drop|hang] {p} head
V *[look|gaze] down
V *[push|tilt|bend] {p} head forward
S {p} head : bowed | lowered | tilted forward | bent forward | hanging | pushed forward
X looking down | head down
head_back
V *[tilt|lean|bend|throw|put] {p} head back
V *look up
S {p} head : tilted back | thrown back | back | leaning back | bent back
X looking up | head up
head_tilted_s
V *[tilt|lean|bend|incline] {p} head to [the|{p}] {L}
S {p} head : tilted to the {L} | leaning to the {L} | bent to the {L} | inclined to the {L} | to the {L} side
feet_on_ground
V *[keep|plant|have|put] [both feet|{p} feet] on the [floor|ground]
V *stand on both feet
S [both feet|{p} feet] : on the floor | on the ground | planted | planted on the ground | flat on the floor
s_foot_off_ground
V *[take|keep|hold] <foot> off the [ground|floor]
V *[take|get] <foot> [away from|clear of] the floor
S <foot> : off the ground | off the floor | above the floor | clear of the ground | not on the floor | not touching the floor
s_knee_on_ground
V *[put|place|rest|set|have] <knee> on the [floor|ground]
V *touch the [floor|ground] with <knee>
S <knee> : on the floor | on the ground | touching the floor | resting on the ground | down on the floor
X <knee> on the ground | <knee> down
s_hand_on_ground
V *[put|place|rest|set|have] <hand|palm> on the [floor|ground]
V *touch the [floor|ground] with <hand>
S <hand|palm> : on the floor | on the ground | touching the floor | touching the ground | down on the floor
X <hand> on the ground | touch the floor with <hand>
seat_on_ground
V *[put|have|set] {p} [bottom|buttocks|hips] on the [floor|ground]
V *stay down on the [floor|ground]
S {p} [bottom|buttocks|hips] : on the floor | on the ground | down on the floor | touching the ground | close to the ground
hips_low
V *[lower|drop|sink|keep] {p} [hips|body|bottom] [low|down low|towards the floor]
V *[get|go|stay] [down|down low|low]
S {p} [hips|body|bottom] : low | down low | close to the floor | lowered | near the ground
X get down | get low | stay low
head_near_ground
V *[lower|bring|keep|hold] {p} head [near the floor|close to the ground|down to the floor|low over the ground]
S {p} head : near the floor | close to the ground | near the ground | close to the floor | low over the ground
standing_upright
V *stand [upright|straight|tall|up straight|up|still|]
V *[stand|stay] on both feet, upright
N standing position | standing pose | upright stance | neutral standing pose
X standing | stand up | just standing | a person standing | standing up straight | stand up straight
standing_on_s_leg
V *[stand|balance] on <leg|foot>
V *[stand|balance] on [one|a single] leg, the {L} one
V *put all {p} weight on <leg|foot>
N one-legged stand on the {L} leg | balance on the {L} leg
X one leg stand on the {L} | standing on one leg | stand on one leg | balancing on one foot
s_flamingo
V *stand on <leg> like a flamingo
V *stand on one leg [like a flamingo|like a stork|with the other knee bent]
V *balance on <leg> with <o:knee> bent
N flamingo pose | stork stance | flamingo stance
X flamingo | standing like a flamingo | stand on one leg like a flamingo | like a stork
s_tree
V *[do|hold|strike|make] the tree pose [|on <leg>]
V *stand on <leg> with <o:foot> [at|against] {p} <s:knee>
V *stand like a tree, [on <leg>|one foot at the other knee]
N tree pose | yoga tree pose | tree position
X tree pose | yoga tree | the tree pose in yoga | stand like a tree
kneeling
V *kneel [|down|on both knees|on the floor|on the ground|down on both knees]
V *[get|go|stay] [down on|on] [{p}|both] knees
V *drop to {p} knees
N kneeling position | kneeling pose | kneel
X kneeling | on your knees | kneel down | kneeling on both knees | down on both knees | a person kneeling
sitting_on_heels
V *[sit|kneel] [on|back on] {p} heels
V *sit [on {p} knees|on {p} shins|the japanese way]
V *kneel and sit on {p} heels
N seiza | seiza position | heel sit
X seiza | sitting on the heels | kneeling and sitting on the heels
s_kneeling
V *kneel [on|down on] <knee>
V *[go|get|drop|stay] down on <knee>
V *kneel on one knee, the {L} one
N half-kneeling position on the {L} knee | proposal pose
X kneeling on one knee | down on one knee | marriage proposal | propose on one knee | proposing | kneel on one knee
squatting
V *squat [|down|low|deeply|down low|on the floor]
V *crouch [|down|low|down low]
V *[do|hold] a [deep|full|low] squat
N squat | deep squat | crouch | full squat | squatting position | low crouch
X squat | squatting | crouching | a squat | deep squat | crouch down | squat down | hunker down
half_squat
V *[do|hold] a [half|shallow|partial] squat
V *[bend|flex] both knees [|a bit more|as if to sit down]
V *[stand|stay] with [both|{p}] knees bent
V *[get|go] into a half squat
N half squat | shallow squat | half crouch | ready stance | athletic stance
X half squat | knees bent | bend your knees | bend both knees | ready to jump | about to jump
sitting_on_chair
V *sit [|down|on a chair|as if on a chair|in a chair|on a stool|on a bench|on an invisible chair|upright on a chair]
V *stay seated [|on a chair]
V *take a seat
N sitting position | seated pose | chair pose | seated position | sitting pose
X sitting | sit down | sitting on a chair | seated | a person sitting | chair pose | sit on a chair | sitting down
sitting_on_floor
V *sit [on the floor|on the ground|down on the floor|on the grass|down on the ground]
V *stay seated on the [floor|ground]
N seat on the floor | sitting position on the floor
X sitting on the floor | sit on the ground | sitting on the ground | seated on the floor | sit on the floor
sitting_legs_stretched
V *sit [on the floor|on the ground] with [{p} legs stretched out|{p} legs straight|straight legs|{p} legs stretched out in front]
V *sit and *stretch out {p} legs
N long sit | seated staff pose
X sitting with legs stretched out | sitting on the floor, legs straight | long sit
sitting_cross_legged
V *sit cross-legged [|on the floor|on the ground]
V *sit [with {p} legs crossed on the floor|in the lotus position|like a tailor|like a buddha]
V *[meditate|sit and *meditate]
N lotus position | cross-legged seat | lotus pose | meditation pose
X sitting cross-legged | cross-legged | lotus position | meditating | lotus | meditation | buddha pose
sitting_knees_up
V *sit [on the floor|on the ground] with {p} knees [up|pulled up|drawn up|bent]
V *sit and *[hug|pull up] {p} knees
N seat with the knees pulled up | huddled seat
X sitting with knees up | sitting on the floor, knees up | sitting on the floor hugging the knees | sitting with knees to the chest
lying_on_back
V *lie [|down|flat] on {p} back
V *lie face up
V *[rest|sleep] on {p} back
N supine position | position flat on the back
X lying on the back | lie on your back | lying down | supine | lying face up | flat on the back | lie down | sleeping on the back
lying_on_front
V *lie [|down|flat] on {p} [front|stomach|belly]
V *lie face down
N prone position | position flat on the stomach
X lying on the stomach | lie on your belly | prone | lying face down | face down on the floor | lie face down
lying_on_s_side
V *lie [|down] on {p} {L} side
V *[rest|sleep] on {p} {L} side
N side position on the {L} | position on the {L} side
X lying on the {L} side | lie on your side | lying on one side | sleeping on the side
all_fours
V *[get|go|stay] [down on|on] all fours
V *[stay|get] on {p} hands and knees
V *crawl [|on all fours|on hands and knees|like a baby]
N crawling position | tabletop position | table pose
X on all fours | all fours | hands and knees | crawling | crawl like a baby | like a dog on all fours
plank
V *[do|hold|stay in] a [plank|push-up]
V *do [push-ups|a push-up|pushups|press-ups]
V *[get|go] into a [plank|push-up position]
N plank | push-up position | high plank | plank position | press-up position
X plank | push-up | push-ups | doing push-ups | a plank | pushup | press-up | holding a plank
downward_dog
V *do the downward dog
V *put {p} hands on the floor and *push {p} hips up
N downward dog | downward facing dog | downward dog position
X downward dog | downward facing dog | yoga downward dog | hips up, hands on the floor
s_lunge
V *[do|hold] a [lunge|deep lunge|forward lunge] [with <leg> in front|with <leg> forward|with <foot> forward|on the {L} leg]
V *lunge [|forward] [with|onto] <leg|foot>
V *[do|hold] a [lunge|deep lunge|forward lunge]
N {L} lunge | lunge with the {L} leg in front | lunge | deep lunge | forward lunge | split squat
X lunge | a lunge | do a lunge | lunging forward | {L} lunge | lunge with the {L} leg | lunge, {L} foot forward | fencing lunge
s_side_lunge
V *[do|hold] a [side lunge|lateral lunge] [to the {L}|on the {L} leg|]
V *lunge [sideways|to the side] [|with <leg>]
V *shift {p} weight onto <leg>, {p} other leg stretched to the side
N side lunge to the {L} | side lunge | lateral lunge
X side lunge | lateral lunge | cossack squat | side lunge to the {L}
s_warrior
V *[do|hold|strike] the [warrior pose|warrior two pose] [|with <knee> bent]
V *stand like a yoga warrior
N warrior pose | warrior two | yoga warrior pose | warrior pose with the {L} knee bent
X warrior pose | yoga warrior | warrior two | warrior ii
t_pose
V *[do|make|strike|hold|take] a t-pose
V *[stand|pose] [like a letter t|like a cross|like a scarecrow|in the shape of a t]
V *stand with both arms [straight out to the sides|out sideways like a t]
N t-pose | t pose | letter t | cross pose | scarecrow pose | t shape
X t-pose | t pose | a t-pose | tpose | T-pose | standing in a t-pose | scarecrow | crucifix | like a scarecrow | letter t
a_pose
V *[do|make|strike|hold|take] an a-pose
V *stand with {p} arms [slightly out|a little away from {p} body|out and down|half lowered]
N a-pose | letter a | a shape
X a-pose | an a-pose | A-pose | arms slightly away from the body | arms down and out
arms_at_sides
V *[keep|hold|have|let] {p} arms [at {p} sides|by {p} sides|down at {p} sides]
V *let both arms hang down
V *drop both arms
S {p} arms : at {p} sides | by {p} sides | down at {p} sides | hanging down | hanging at {p} sides | relaxed at {p} sides
N attention pose | neutral pose
X arms at the sides | arms down | arms hanging | stand at attention | attention | arms by your side | standing with arms at the sides
y_pose
V *[raise|stretch|throw|lift] [both|{p}] arms [up and out|up in a v|in a y shape|up high and wide|up wide]
V *make a [y|v] with {p} arms
V *[cheer|celebrate] with both arms up
S {p} arms : raised in a v | up in a y shape | stretched up and out | raised wide | up and apart
N y-pose | victory pose | letter y | v shape | winner pose
X y-pose | letter y | victory | cheering | hooray | celebrating a win | arms raised in victory | ymca | praise the lord
surrender
V *[put|hold|raise|throw] {p} hands up
V *surrender
V *[raise|hold up] both hands [in surrender|as if to surrender|with bent elbows|at the sides of {p} head]
S {p} hands : up in surrender | up | raised in surrender | up beside {p} head | raised with bent elbows
N surrender pose | hands-up pose
X hands up | hands up, don't shoot | surrender | surrendering | stick 'em up | hands up! | put your hands up | i surrender | don't shoot
flexing
V *flex [{p}|both] [biceps|muscles]
V *show off {p} [muscles|biceps]
V *[pose|stand] like a bodybuilder
N double biceps pose | bodybuilder pose | cactus pose | goalpost pose | strong man pose
X flexing | flexing the biceps | bodybuilder | flex your muscles | show your muscles | strong man | showing off muscles
star
V *[stand|pose] like a [star|starfish]
V *do a [star jump|jumping jack]
V *[spread|stretch] {p} arms and legs [out|wide|in an x|like a star]
N star pose | x pose | starfish pose | star jump | letter x
X star | starfish | star jump | jumping jack | jumping jacks | x pose | letter x | arms and legs spread
akimbo
V *[put|place|rest|hold] [both|{p}] hands on {p} hips
V *[stand|pose] with [both|{p}] [hands on {p} hips|arms akimbo]
V *put {p} arms akimbo
S [{p} arms|both arms] : akimbo | akimbo, hands on the hips
S [{p} hands|both hands] : on {p} hips | resting on {p} hips | on {p} waist
N superhero pose | power pose
X hands on hips | arms akimbo | hands on the hips | both hands on the hips | akimbo | superhero pose | power pose | wonder woman
arms_folded
V *[fold|cross] [{p}|both] arms
V *[fold|cross] {p} arms [over|in front of|across] {p} chest
V *keep {p} arms [folded|crossed]
S {p} arms : folded | crossed | folded over {p} chest | crossed in front of {p} chest | crossed over {p} chest
N folded-arms pose | crossed-arms pose
X arms folded | arms crossed | folded arms | crossed arms | cross your arms | fold your arms | bouncer | arms crossed over the chest
hugging_oneself
V *hug {self}
V *[wrap|put] {p} arms around {self}
V *[hold|grab] both shoulders with crossed arms
S {p} arms : wrapped around {p} body | around {p} own shoulders | crossed with the hands on the shoulders | hugging {p} own body
N self hug
X hugging yourself | self hug | hugging oneself | feeling cold | hug yourself | freezing | arms around oneself
hands_on_head
V *[put|place|hold|rest] [both|{p}] hands on {p} head
V *[put|hold] both hands on top of {p} head
V *[grab|hold|clutch] {p} head with both hands
S [{p}|both] hands : on {p} head | on top of {p} head | resting on {p} head | holding {p} head
N hands-on-head pose
X hands on head | hands on your head | both hands on the head | holding the head | in despair | headache
hands_behind_head
V *[put|place|hold|fold|clasp] [both|{p}] hands behind {p} [head|neck]
V *lace {p} fingers behind {p} head
S [{p}|both] hands : behind {p} head | clasped behind {p} head | behind {p} neck | folded behind {p} head
N hands-behind-the-head pose | sit-up arm position
X hands behind the head | hands behind head | hands behind your head | relaxing with the hands behind the head | under arrest, hands behind the head
hands_behind_back
V *[put|hold|clasp|keep|fold] [both|{p}] hands behind {p} back
V *[cross|hide] {p} hands behind {p} back
S [{p}|both] hands : behind {p} back | clasped behind {p} back | crossed behind {p} back | held behind {p} back
N handcuffed pose | at-ease stance
X hands behind the back | hands behind your back | handcuffed | at ease | both hands behind the back | in handcuffs
s_salute
V *salute [|with <hand>|like a soldier|with the {L} hand]
V *give a [salute|military salute] [|with <hand>]
V *bring <hand> to {p} [forehead|brow|temple] [in a salute|to salute]
N {L}-handed salute | salute | military salute
X salute | saluting | soldier saluting | military salute | a salute with the {L} hand | saluting with the {L} hand | aye aye captain
s_phone
V *[hold|have] a phone to {p} ear [|with <hand>]
V *[talk|speak] on the phone [|with <hand> at {p} ear]
V *[make|take|answer] a phone call [|with <hand>]
N phone call pose | phone pose
X on the phone | talking on the phone | phone call | calling someone | a person on the phone | phone in the {L} hand
s_thinking
V *think [|hard|with <hand> at {p} chin]
V *[rest|put|hold] {p} chin [on|in] <hand>
V *ponder [|with <hand> at {p} chin]
V *drink [|from a cup] with <hand>
N thinking pose | thinker pose | pensive pose
X thinking | the thinker | thinking hard | hand on chin | pondering | drinking | pensive | hmm
covering_face
V *[cover|hide] {p} face [|with both hands|with {p} hands|in {p} hands]
V *bury {p} face in {p} hands
V *[cry|weep] into {p} hands
S [{p}|both] hands : over {p} face | covering {p} face | in front of {p} face | at {p} mouth
N face-covering pose | peekaboo pose
X covering the face | face in hands | crying | peekaboo | hands over the face | cover your face | weeping | eating with both hands
s_waving
V *wave [|hello|goodbye] [with <hand>|with the {L} hand]
V *wave <hand>
V *wave [hello|goodbye|at someone|to someone]
V *greet someone with <hand>
N {L}-handed wave | waving pose | greeting pose
X waving | wave | wave hello | hello | hi there | waving goodbye | waving with the {L} hand | say hello | bye bye | a friendly wave
praying
V *pray
V *[put|press|hold|bring] {p} [hands|palms] together [in prayer|in front of {p} chest|at {p} chest|to pray]
V *say namaste
S {p} [hands|palms] : together in prayer | pressed together before {p} chest | together at {p} chest | folded in prayer
N prayer pose | namaste pose | praying pose
X praying | pray | namaste | prayer | hands together in prayer | prayer pose | a person praying
clapping
V *clap [|{p} hands|{p} hands together]
V *applaud
V *hold {p} hands close together in front of {p} [body|chest]
S {p} hands : clapping | close together in front of {p} body | together in front of {p} chest | meeting in front of {p} body
N clapping pose | applause
X clapping | clap | applause | clap your hands | applauding | clapping hands | clap clap
boxing_guard
V *[hold|put|keep] {p} [fists|hands] up [like a boxer|in a boxing guard|in front of {p} face|to guard {p} face]
V *[stand|pose] like a boxer
V *[take|stay in] a [fighting|boxing] [stance|guard]
S {p} [fists|hands] : up in a guard | up like a boxer's | up in front of {p} face | guarding {p} face
N boxing guard | fighting stance | boxer's guard | boxing stance | fighting pose | boxer stance | guard
X boxing | boxer | boxing guard | fists up | ready to fight | boxer's guard | fighting stance | guard up | put up your fists
s_punch
V *punch [|forward|straight ahead] with <hand|fist|arm>
V *throw a [punch|jab|straight] with <hand|fist>
V *[hit|strike] with <fist>
V *punch
N {L} punch | {L} jab | {L} straight | punch | jab
X punch | punching | {L} punch | a {L} jab | throwing a punch | jab | karate punch | straight {L}
s_pointing_forward
V *point [forward|straight ahead|ahead|to the front|in front of {self}] [with <hand>|with <arm>|]
V *reach forward with <hand|arm>
V *[stretch|hold] out <hand> [as if to shake hands|to someone in front]
N pointing pose
X pointing | pointing forward | pointing ahead | point forward | pointing at someone | reaching forward | pointing with the {L} hand | over there
s_pointing_sideways
V *point [sideways|to the {L}|to the side|out to the {L}] [|with <hand>|with <arm>]
V *[point|show the way] to the {L}
N pointing pose to the {L}
X pointing to the {L} | pointing {L} | point {L} | pointing sideways | go {L} | pointing to the side | point to the {L}
s_pointing_up
V *point [up|upwards|at the sky|at the ceiling|to the sky|straight up] [|with <hand>|with <arm>]
V *[raise|put] <hand> [like a pupil|to ask a question|as in class]
V *hail a [taxi|cab] with <hand>
N statue of liberty pose | pointing pose towards the sky
X pointing up | point up | pointing at the sky | raise your hand in class | hailing a taxi | statue of liberty | pointing upwards | one arm up
zombie
V *[walk|stand|pose] like a [zombie|sleepwalker]
V *[stretch|hold|reach] [both|{p}] arms [straight out in front|straight forward|out in front like a zombie]
S [{p}|both] arms : straight out in front | stretched out in front | stretched forward like a zombie's | straight forward
N zombie pose | sleepwalker pose | mummy pose
X zombie | sleepwalking | like a zombie | arms stretched out in front | both arms forward | zombie arms | mummy
flying
V *fly [|like superman|like a superhero|through the air like superman]
V *[dive|dive forward]
V *[swim|glide] with {p} arms stretched out ahead
N superman pose | flying pose | diving pose
X superman | flying | superman flying | flying like superman | fly like superman | diving | swimming | like superman
bowing
V *[bow|take a bow]
V *bow [forward|politely|from the hips|down]
V *[make|take] a bow
N bow | polite bow | forward bend | hip hinge
X bowing | bow | a bow | take a bow | bow down | bowing politely | bending over | bend forward
deep_bow
V *bow [deeply|very low|low|all the way down]
V *[take|make] a [deep|low] bow
V *bend [all the way|very far|deeply] forward
N deep bow | deep forward bend | low bow
X deep bow | bow deeply | bowing deeply | a deep bow | bend all the way down | bowing low | forward fold
touching_toes
V *touch {p} [toes|feet] [|with both hands|with {p} hands]
V *[bend|reach] down to {p} [toes|feet]
V *bend down and *[touch|reach for] {p} [toes|feet]
N standing toe touch | toe touch | standing forward fold
X touch your toes | touching the toes | toe touch | touching your toes | reach for your toes | stretching down to the feet
hands_on_knees_bent
V *[bend|lean] forward with [both|{p}] hands on {p} knees
V *lean on {p} knees with both hands
V *catch {p} breath, hands on {p} knees
S [{p}|both] hands : on {p} knees | resting on {p} knees | leaning on {p} knees
N tired pose with the hands on the knees
X out of breath | catching your breath | hands on knees | exhausted | hands on the knees, bent over | tired runner
s_marching
V *[march|march on the spot] [|with <knee> up]
V *[raise|lift|pull up] <knee> [high|up to hip height|to the waist]
V *stand on <o:leg> with <knee> [up|raised|lifted]
N high knee | marching pose | high knee pose with the {L} knee | crane stance
X high knees | marching | march | {L} knee up | high knee | climbing a stair | going upstairs | knee up | crane pose
s_kick_forward
V *kick [forward|to the front|high|forwards|in front] [|with <leg|foot>]
V *kick [a ball|a football] with <foot>
V *kick [with|out with] <leg|foot>
N front kick | {L} front kick | kick | high kick
X kick | kicking | front kick | {L} kick | high kick | karate kick | kicking forward | kicking with the {L} leg | kicking a ball
s_kick_side
V *kick [sideways|to the side|to the {L}] [|with <leg|foot>]
V *do a side kick with <leg|foot>
N side kick | {L} side kick | sideways kick
X side kick | sideways kick | kicking to the side | {L} side kick | kick to the side | martial arts side kick
s_kick_back
V *kick [back|backwards|behind] [|with <leg|foot>]
V *do a back kick with <leg>
V *[do|hold] an arabesque [|with <leg> behind]
N back kick | arabesque | {L} back kick | ballet arabesque
X back kick | arabesque | kicking back | donkey kick | ballet arabesque | {L} leg kicked back | kick backwards
side_splits
V *do the [splits|side splits|middle splits]
V *do the splits sideways
N side split | straddle split | middle split
X splits | side splits | the splits | middle splits | doing the splits | do the splits
s_front_splits
V *do the [splits|front splits] with <leg> in front
V *do the [splits|front splits]
N front split | front split with the {L} leg ahead
X front splits | splits | doing the splits | front splits, {L} leg first | do the splits
s_stride
V *[walk|step forward|stride] [|with <foot|leg> in front|with <foot|leg> first]
V *take a [big|long|] step with <foot|leg>
V *walk [|along|forward|forwards]
N walking stride | walking pose | long step | stride | step with the {L} foot
X walking | walk | striding | taking a step | walking forward | a man walking | a big step | mid stride | step forward | going for a walk
s_running
V *run [|fast|forward|with <leg> in front]
V *[sprint|jog]
N running pose | sprint | runner's pose | running stride
X running | run | sprinting | jogging | a person running | runner | run fast | jog | sprint
handstand
V *[do|hold] a handstand
V *stand on {p} hands
V *[balance|walk] on {p} hands
N handstand | handstand position
X handstand | doing a handstand | standing on the hands | stand on your hands | upside down on the hands
upside_down
V *[hang|stay|stand] upside down
V *[stay|stand] on {p} head
V *[do|hold] a [headstand|shoulder stand]
N upside-down position | headstand | shoulder stand | candle position
X upside down | headstand | standing on the head | head down, feet up | shoulder stand
carrying
V *[hold|carry|lift] a [box|tray|parcel|heavy box] [|in front of {p} body|with both hands]
V *[hold|keep] both [hands|forearms] out in front, elbows bent
V *[type|steer|drive]
S {p} [hands|forearms] : held out in front as if with a box | held out as if with a tray | out in front with the elbows bent
N carrying pose | carrying position
X carrying a box | holding a tray | carrying something | carry a box | holding a box | driving a car | holding something in both hands | typing
shrug
V *shrug [|{p} shoulders]
V *shrug with {p} hands out
V *[hold|open] [both|{p}] hands out to the sides, elbows in
S {p} hands : out to the sides in a shrug | opened to the sides | out sideways with the elbows in
N shrug
X shrug | shrugging | who knows | i don't know | no idea | shrug your shoulders
s_throwing
V *throw [|something|a ball|a stone|a spear] with <hand|arm>
V *[draw|swing] <arm> back to throw
V *get ready to throw with <hand|arm>
N throwing pose | {L}-handed throw | pitcher's pose
X throwing | throw a ball | throwing a ball | about to throw | pitching | throwing a spear | throw something | ready to throw
s_archer
V *[shoot|draw] a bow [|with <arm> in front]
V *[aim|shoot] an arrow [|with <hand> in front]
V *stand like an archer
N archer pose | archer's pose | bow and arrow pose
X archer | archery | shooting an arrow | bow and arrow | drawing a bow | robin hood | shoot an arrow
"""


import re  # noqa: E402

_PLURAL = {"foot": "feet", "thigh": "thighs"}
_PLURALS = set("arms hands feet legs knees elbows palms fists ankles shoulders hips forearms buttocks toes".split())
_DOUBLED = set("put sit get squat hug set run chat jog swim cut step drop grab let clap hit".split())
_THIRD = {"have": "has", "be": "is", "do": "does", "go": "goes"}


def third_person(verb):
    """The verb after he or she.

    >>> third_person("reach"), third_person("raise"), third_person("carry"), third_person("stay")
    ('reaches', 'raises', 'carries', 'stays')
    """
    if verb in _THIRD:
        return _THIRD[verb]
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("s", "x", "ch", "sh", "z")) else "s")


def gerund(verb):
    """The verb's -ing form.

    >>> gerund("raise"), gerund("put"), gerund("lie"), gerund("be"), gerund("kneel")
    ('raising', 'putting', 'lying', 'being', 'kneeling')
    """
    if verb in _DOUBLED:
        return verb + verb[-1] + "ing"
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    return (verb[:-1] if verb.endswith("e") and not verb.endswith(("ee", "be")) else verb) + "ing"


def plural(noun):
    return _PLURAL.get(noun) or (noun + ("es" if noun.endswith("ch") else "s"))


def compile_phrase(text):
    """A template to nodes: strings, lists of alternatives, and (kind, what) pairs for nouns, verbs and pronouns."""
    text = _star_each(text)
    nodes = []
    for token in re.findall(r"\[[^\]]*\]|<[^>]*>|\{\w+\}|\*[\w-]+|[^\[<{*]+", text):
        if token[0] == "[":
            nodes.append([compile_phrase(option) for option in _options(token[1:-1])])
        elif token[0] == "<":
            mode, colon, nouns = token[1:-1].rpartition(":")
            if nouns[0] == "=":
                mode, nouns = "=", nouns[1:]
            nodes.append((mode or "own", tuple((noun, plural(noun)) for noun in nouns.split("|"))))
        elif token[0] == "{":
            nodes.append((token[1:-1], None))
        elif token[0] == "*":
            nodes.append(("verb", (token[1:], third_person(token[1:]), gerund(token[1:]))))
        else:
            nodes.append(token)
    return tuple(nodes)


def _star_each(text):
    """`*[raise|lift]` is `[*raise|*lift]`."""
    return re.sub(r"\*\[([^\]]*)\]", lambda m: "[" + "|".join("*" + word for word in m[1].split("|")) + "]", text)


def _options(text):
    """Split at the bars that stand outside <...>."""
    return re.split(r"\|(?![^<]*>)", text)


def read_table(text=PHRASES):
    """The table as {block name: {"V": (template, ...), "S": ((noun, state), ...), "N": ..., "X": ...}}, templates compiled."""
    table, block = {}, None
    for line in text.strip().splitlines():
        kind, _, rest = line.partition(" ")
        if kind not in "VSNX":
            block = table.setdefault(line, {"V": [], "S": [], "N": [], "X": []})
        elif kind == "V":
            block["V"].append(compile_phrase(rest))
        elif kind == "S":
            noun, _, states = rest.partition(" : ")
            for state in _options_spaced(states):
                block["S"].append((compile_phrase(noun), compile_phrase(state)))
        else:
            block[kind] += [compile_phrase(option) for option in _options_spaced(rest)]
    return table


def _options_spaced(text):
    return [option.strip() for option in text.split(" | ")]


class Voice:
    """Who is spoken of, and how: the verb's form (0 base, 1 third person, 2 gerund), whose body part, and the reflexive."""

    def __init__(self, form, owner, reflexive="yourself"):
        self.form, self.owner, self.reflexive = form, owner, reflexive


def pick(rng, options):
    return options[int(rng.random() * len(options))]


def say(nodes, voice, side, rng):
    """A compiled template as words. side: "left", "right", "both" (one phrase for the two sides) or None."""
    words = []
    for node in nodes:
        if isinstance(node, str):
            words.append(node)
        elif isinstance(node, list):
            words.append(say(pick(rng, node), voice, side, rng))
        else:
            words.append(_SAY[node[0]](node[1], voice, side, rng))
    return "".join(words)


def _noun(nouns, voice, side, rng):
    one, many = pick(rng, nouns)
    if side != "both":
        return f"{voice.owner} {side} {one}"
    chance = rng.random()
    if chance < 0.45 or chance > 0.9 and voice.owner == "the":
        return f"both {many}"
    return f"{voice.owner} {many}" if chance < 0.9 else f"both {voice.owner} {many}"


def _same_side(nouns, voice, side, rng):
    one, many = pick(rng, nouns)
    return many if side == "both" else f"{side} {one}" if rng.random() < 0.6 else one


def _other_side(nouns, voice, side, rng):
    return f"{voice.owner} {_OTHER[side]} {pick(rng, nouns)[0]}"


_OTHER = {"left": "right", "right": "left"}
_SAY = {"own": _noun, "=": _same_side, "o": _other_side,
        "s": lambda nouns, voice, side, rng: nouns[0][1] if side == "both" else f"{side} {nouns[0][0]}",
        "verb": lambda forms, voice, side, rng: forms[voice.form],
        "p": lambda _, voice, side, rng: voice.owner,
        "self": lambda _, voice, side, rng: voice.reflexive,
        "L": lambda _, voice, side, rng: side,
        "O": lambda _, voice, side, rng: _OTHER[side]}

_KEEP = compile_phrase("*[keep|keep|hold|have]")
_BE_IN = compile_phrase("*[do|do|do|hold|strike|make|take|get into]")
# subject, its pronoun, possessive, reflexive, verb form (1: "raises", 0: "raise")
PERSONS = ([(name, "he", "his", "himself", 1) for name in ("a man", "the man", "he", "he", "a guy", "a boy", "an old man", "the boy", "this man")]
           + [(name, "she", "her", "herself", 1) for name in ("a woman", "the woman", "she", "she", "a girl", "a lady", "the girl", "this woman")]
           + [(name, "he", "his", "himself", 1) for name in ("a person", "the person", "an athlete", "a dancer", "an actor")]
           + [(name, "she", "her", "herself", 1) for name in ("a person", "the person", "a dancer", "a gymnast", "an athlete")]
           + [(name, "they", "their", "themselves", 1) for name in ("a person", "the person", "someone", "somebody", "a human", "one person")]
           + [("the figure", "it", "its", "itself", 1), ("a figure", "it", "its", "itself", 1), ("they", "they", "their", "themselves", 0)]
           + [("you", "you", "your", "yourself", 0), ("i", "i", "my", "myself", 0)])


class Unit:
    """One thing to say: a block of the table, the side it is said of, and whether its part is one or two."""

    def __init__(self, block, side):
        self.block, self.side = block, side

    def verb(self, voice, rng):
        block = self.block
        if block["V"] and (not block["N"] or rng.random() < 0.75):
            return say(pick(rng, block["V"]), voice, self.side, rng)
        if block["N"]:
            return f"{say(_BE_IN, voice, None, rng)} {with_article(self.name(voice, rng))}"
        return f"{say(_KEEP, voice, None, rng)} {self.state(voice, rng)}"

    def state(self, voice, rng):
        noun, state = pick(rng, self.block["S"])
        return f"{say(noun, voice, self.side, rng)} {say(state, voice, self.side, rng)}"

    def sentence(self, voice, rng):
        noun, state = pick(rng, self.block["S"])
        noun = say(noun, voice, self.side, rng)
        verb = "are" if noun.rpartition(" ")[2] in _PLURALS else "is"
        return f"{noun} {verb} {say(state, voice, self.side, rng)}"

    def name(self, voice, rng):
        return say(pick(rng, self.block["N"]), voice, self.side, rng)

    def short(self, voice, rng):
        """The shortest: a name, a part and its state, or a gerund."""
        kinds = [kind for kind in "XXNSV" if self.block[kind]]
        kind = pick(rng, kinds)
        if kind == "S":
            return self.state(voice, rng)
        if kind == "V":
            return say(pick(rng, self.block["V"]), Voice(2, voice.owner, voice.reflexive), self.side, rng)
        return say(pick(rng, self.block[kind]), voice, self.side, rng)


def with_article(name):
    return ("an " if name[0] in "aeiou" and not name.startswith(("u", "one")) else "a ") + name


def listed(items, rng):
    if len(items) == 1:
        return items[0]
    joint = pick(rng, (" and ", " and ", ", and ", ", "))
    return ", ".join(items[:-1]) + joint + items[-1]


def _clauses(units, voice, rng):
    """Verb phrases, then the rest as "with ..." or "while ...": "stand upright with your left arm raised"."""
    first, rest = units[0].verb(voice, rng), units[1:]
    if not rest:
        return first
    with_states = [unit for unit in rest if unit.block["S"] and rng.random() < 0.6]
    verbs = [unit for unit in rest if unit not in with_states]
    text = first
    if verbs:
        chance = rng.random()
        if chance < 0.2 and not with_states:
            gerund_voice = Voice(2, voice.owner, voice.reflexive)
            text += pick(rng, (" while ", ", ", " and at the same time " if voice.form == 2 else " while ")) + listed(
                [unit.verb(gerund_voice, rng) for unit in verbs], rng)
        else:
            text = listed([first] + [unit.verb(voice, rng) for unit in verbs], rng)
    if with_states:
        text += pick(rng, (" with ", ", with ", ", ")) + listed([unit.state(voice, rng) for unit in with_states], rng)
    return text


def imperative(units, rng):
    owner = pick(rng, ("your", "your", "your", "your", "the", ""))
    voice = Voice(0, owner)
    split = len(units) if len(units) < 3 or rng.random() < 0.6 else 1 + int(rng.random() * (len(units) - 1))
    text = _clauses(units[:split], voice, rng)
    if split < len(units):
        text += pick(rng, (". ", "; ", ". then ", ". also, ")) + _clauses(units[split:], voice, rng)
    return pick(rng, ("", "", "", "", "", "", "", "", "please ", "now ", "try to ", "just ", "can you ", "you should ")) + text


def third(units, rng):
    subject, pronoun, owner, reflexive, form = pick(rng, PERSONS)
    be = {"i": "am"}.get(subject, "is" if form else "are")
    going_on = rng.random() < 0.55
    voice = Voice(2 if going_on else form, owner, reflexive)
    split = len(units) if len(units) < 3 or rng.random() < 0.5 else 1 + int(rng.random() * (len(units) - 1))
    text = f"{subject} {be + ' ' if going_on else ''}{_clauses(units[:split], voice, rng)}"
    if split == len(units):
        return text
    rest = units[split:]
    if all(unit.block["S"] for unit in rest):
        return text + pick(rng, (". ", "; ", ", and ")) + listed([unit.sentence(voice, rng) for unit in rest], rng)
    form = 0 if pronoun in ("they", "you", "i") else 1
    return text + pick(rng, (". ", "; ", ", and ")) + f"{pronoun} {_clauses(rest, Voice(form, owner, reflexive), rng)}"


def gerunds(units, rng):
    return _clauses(units, Voice(2, pick(rng, ("the", "the", "your", "his", "her", "", "their"))), rng)


def telegraphic(units, rng):
    voice = Voice(2, pick(rng, ("", "", "", "the")))
    joint = pick(rng, (", ", ", ", ", ", "; ", " and ")) if len(units) < 3 else pick(rng, (", ", ", ", "; "))
    return joint.join(unit.short(voice, rng) for unit in units)


def noun_phrase(units, rng):
    subject, _, owner, reflexive, _ = pick(rng, PERSONS[:-5])
    subject = {"he": "a man", "she": "a woman"}.get(subject, subject)
    first = units[0]
    rest = units[1:] if first.block["N"] and rng.random() < 0.5 else None
    if rest is not None:
        name = first.name(Voice(2, owner, reflexive), rng)
        text = pick(rng, (f"{with_article(name)}", f"{subject} in {with_article(name)}", name, with_article(name)))
        if not rest:
            return text
        voice = Voice(2, "the" if not text.startswith(subject) else owner, reflexive)
        states, others = [u for u in rest if u.block["S"]], [u for u in rest if not u.block["S"]]
        if others:
            text += ", " + listed([u.verb(voice, rng) for u in others], rng)
        return text + ((" with " if not others else ", ") + listed([u.state(voice, rng) for u in states], rng) if states else "")
    if all(unit.block["S"] for unit in units) and rng.random() < 0.6:
        subject, owner = pick(rng, ((subject, owner), ("a pose", "the"), ("a figure", "the"), ("someone", "their"), ("pose", "the")))
        return f"{subject} with {listed([unit.state(Voice(2, owner), rng) for unit in units], rng)}"
    start = pick(rng, ("", "", "", "picture of ", "a pose of ", "show me ", "the pose of "))
    return f"{start}{subject} {_clauses(units, Voice(2, owner, reflexive), rng)}"


def states(units, rng):
    """Whole sentences about parts: "the left arm is raised and both knees are bent"; what has no part is said first."""
    subject, pronoun, owner, reflexive, form = pick(rng, PERSONS)
    voice = Voice(form, pick(rng, (owner, "the", "your")), reflexive)
    plain = [unit for unit in units if unit.block["S"]]
    others = [unit for unit in units if not unit.block["S"]]
    if others:
        if voice.owner == "your":
            voice = Voice(form, owner, reflexive)
        text = f"{subject} {_clauses(others, voice, rng)}"
        return text + (pick(rng, (", and ", "; ", ". ")) + listed([unit.sentence(voice, rng) for unit in plain], rng) if plain else "")
    return listed([unit.sentence(voice, rng) for unit in plain], rng)


STYLES = ((imperative, 0.29), (third, 0.2), (gerunds, 0.11), (telegraphic, 0.2), (noun_phrase, 0.1), (states, 0.1))


def compose(units, rng):
    """The units as one caption in one style, spaced, cased and stopped as people type."""
    chance, place = rng.random(), 0
    if len(units) == 1 and rng.random() < 0.3:
        place = 3
    else:
        while chance > STYLES[place][1] and place < len(STYLES) - 1:
            chance -= STYLES[place][1]
            place += 1
    return finish(STYLES[place][0](units, rng), rng)


def finish(text, rng):
    text = re.sub(r"\bi\b", "I", re.sub(r" +", " ", text).strip().replace(" ,", ",").replace(" ;", ";").replace(" .", "."))
    chance = rng.random()
    if chance < 0.65:
        text = re.sub(r"(^|[.] )([a-z])", lambda m: m[1] + m[2].upper(), text)
    if text[-1] not in ".!?" and rng.random() < 0.6:
        text += "." if rng.random() < 0.97 else "!"
    return text


def words_of(table=PHRASES):
    """The lower-case words that captions made from this table can hold."""
    text = " ".join(line[2:] for line in table.splitlines() if line[1:2] == " ")
    text += " *[keep|hold|have|do|strike|make|take|get into] " + " ".join(" ".join(person[:4]) for person in PERSONS) + _FRAME_WORDS
    text = _star_each(text)
    verbs = {form for verb in re.findall(r"\*([\w-]+)", text) for form in (third_person(verb), gerund(verb))}
    nouns = {plural(noun) for found in re.findall(r"<(?:\w:|=)?([^>]*)>", text) for noun in found.split("|")}
    plain = re.sub(r"<(?:\w:|=)|\{\w+\}", " ", text.replace("{L}-", "left-") + text.replace("{L}-", "right-"))
    words = set(re.findall(r"[a-z0-9'-]+", plain.lower())) | {word for phrase in verbs | nouns for word in phrase.split()}
    return frozenset(words | {half for word in words for half in word.split("-") if half})


_FRAME_WORDS = (" please now try to just can you should then also at the same time while with and is are am a an both left right one "
                "picture of pose figure someone show me in something")
