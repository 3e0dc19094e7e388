"""What the guide to Clover says besides what the card declares."""

ABOUT = (
    (
        "A reward, step by step",
        """Nothing at Clover's till calls us, so a reward is given by hand, in two places.

1. The shopper's phone is asked for, and the customer is put on the order in Clover: without it the sale has no
   owner.
2. Staff redeem the reward here (queue page or the shopper's page), or the shopper does in the wallet. The
   points leave at once; the screen says what to type, such as "10.00 off the cart".
3. On the open order in Clover: Discount, the amount or the percentage as shown, with the reward's name. Of the
   whole order, not of a line: a line's discount settles nothing.
4. The payment is taken. Within a minute the order has been read: the discount is found on it by its name or its
   amount, and the redemption is settled.
5. If the order was paid without the discount, the points come back by themselves, as soon as all sales of that
   time are known. Staff can give them back before.""",
    ),
    (
        "How changes are found",
        """- **Orders** by their time of change, with two minutes of overlap, in slices of at most 14 days, since Clover
  cuts longer ranges to 90 days without saying so. Once a day the last eight days are read again, once an hour
  the orders of the day's refunds.
- **Customers**: Clover tells no time of change that could be asked for. New ones are asked for every 20 seconds
  by "customer since"; edits are found by walking the whole list again, every minute and less often where it has
  more than 40 pages of 500. A page that has not changed is not looked at further.
- **What was paid** is the sum of the payments that count, without tips, less their tax. A cent between the
  order's total and its payments is no matter. Orders in test mode, orders never paid and hidden ones are no
  sales.
- **Refunds** are records of their own that name their order; what becomes of the points is the programme's
  setting.
- **Lines**: Clover has one line for each unit; equal ones become one with a quantity. A discount of the whole
  order is spread over its lines.
- **Delivery and pickup** are told by the name of the order type ("Delivery", "Curbside pickup"); an order
  without a type was in store.
- **Several processes, one token**: they share out its 16 calls a second and 5 at once by a row in the database,
  and whoever works alone has all of them. Clover also counts 50 a second and 10 at once for an app; whether
  that holds for tokens from the dashboard is not known, so all tokens together stay within 10 at once.""",
    ),
    (
        "What is inferred",
        """Clover's documentation is silent about some things; what we do then is marked "inferred" in the sources: that
a refund moves its order's time (checked every hour in case it does not), that deleted orders and items can be
asked for, how a list is sorted, and that marketing consent can be written by Clover's own apps only.""",
    ),
)
