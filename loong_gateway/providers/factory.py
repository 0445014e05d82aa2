"""temp"""
from __future__ import annotations
from loong_gateway.providers.contract import Completion
class Echo:
    profile="echo"; kind="echo"; model="echo"
    def complete(self, call, *, deadline, stop, on_text=None):
        t="echo: "+call.messages[-1].content
        if on_text: on_text(t)
        return Completion(t,"echo")
    def models(self,*,deadline): return ["echo"]
    def models_endpoint(self): return "-"
    def health(self): return {}
def build_provider(profile, **k): return Echo()
