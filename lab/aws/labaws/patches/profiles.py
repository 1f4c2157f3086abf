"""Instance profiles as AWS documents: ListInstanceProfiles gives those below PathPrefix only, moto gives all."""

from moto.iam.responses import IamResponse

from ..patching import patch


@patch(IamResponse, "list_instance_profiles")
def list_instance_profiles(old, self):
    answer = old(self)
    prefix = self._get_param("PathPrefix") or "/"
    answer._result["InstanceProfiles"] = [p for p in answer._result["InstanceProfiles"] if p.path.startswith(prefix)]
    return answer
