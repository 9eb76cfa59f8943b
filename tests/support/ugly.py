"""An owner's module that keeps none of this house's rules, and works."""

from __future__ import annotations

#: Formatted and written as nobody here would; some of its docstrings are no help either.
UGLY_BLUEPRINT = '''
import os,sys, json
from flask import *
from flask.views import MethodView
import functools
def l(x): return x
SHOP=Blueprint('ugly',__name__,url_prefix="/ugly")
@SHOP.route('/',methods=['GET','POST'])
def index(): return "ok"
@SHOP.route("/items/<int:item_id>")
def item(item_id) :
  """One item
  of the shop.

  With `stock` and <b>price</b>.
  ---
  responses: {200: {description: flasgger}}
  """
  return {"id":item_id}
@SHOP.get("/kind/<any(red, blue):kind>/<path:rest>")
@SHOP.get("/weight/<float(min=0.5, signed=True):weight>")
def undocumented_view(**kw): return kw
@SHOP.get("/broken/{literal}/<name>")
def broken(name): return name
broken.__doc__ = "Half a character \\ud800 and a \\x00.\\n\\n" + "long " * 5000
class Orders(MethodView):
    """All orders."""
    def get(self, n): """One order."""; return n
    def delete(self,n): return "gone"
    def propfind(self, n): return n
SHOP.add_url_rule("/orders/<uuid:n>", view_func=Orders.as_view("orders"))
odd = functools.partial(lambda **kw: "odd")
odd.__doc__ = 42
SHOP.add_url_rule("/odd", endpoint="odd", view_func=odd, methods=["GET", "PROPFIND"])
class Mean:
    __doc__ = property(lambda self: 1 / 0)
    def __call__(self): return "mean"
SHOP.add_url_rule("/mean/<string(length=2):code>", "mean", Mean())
exec("PASSWORD = 'x'; assert l(1)")
'''
