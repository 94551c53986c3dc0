"""Shop logs of any size with known truth: from a stated random process, the same bytes for the same seed.

The process, for a user with visit rate r, conversion p, drop-out rate m, from the time of joining on:

- Visits are a Poisson process of intensity r x season(t). The season is a factor per hour: weekday, hour of the
  day and a yearly wave, the same for everybody.
- A visit ends in a purchase with probability p, whatever else happens in it. So purchases are a Poisson process
  of intensity r p season(t). What a visit is made of tells of p, since who buys more often leaves more carts behind,
  but nothing else about the visits to come.
- The user drops out for good after an exponential time of rate m, and has no visit after that.
- r, p and m are drawn once per user, from a gamma, a beta and a gamma distribution; the drop-out rate also depends
  on the channel that the user came by.

The time of a visit is its end, so that a purchase happens exactly when the process says; views, searches, clicks,
carts and removals lie before it, reviews, ratings and returns after it.

`truth.py` has the probability of a purchase in closed form. It knows each user's rates and whether the user has
dropped out, which no log shows: what a model could reach at best, and more than it can.

Source: Schmittlein, Morrison and Colombo (1987), "Counting Your Customers" (Pareto/NBD: Poisson purchases, exponential
drop-out, gamma rates); Fader and Hardie (2007) on conversion as a thinned visit process; Lewis and Shedler (1979) on
thinning.
"""
